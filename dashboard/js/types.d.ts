// The shapes that modules share. For the type checker only; no browser loads it.

/** One relay that this browser was paired with; a pair without a key only brings a seal. */
type Pair = { relay: string; key: string; name: string; seal?: string };
/** What the page knows: feed.js makes the next one of it. */
type Shown = { home: string; cursor: string; sessions: any[]; summary: any; machines: any[]; at: number; sample: boolean };
/** Which sessions are asked for. */
type Query = { q: string; project: string; model: string; machine: string; by: string; up: boolean };

// What connection.js is given and gives.
type Home = { base: string; key?: string };
type Answer = { kind: "feed"; feed: any } | { kind: "same"; at: number | null } | { kind: "refused" } | { kind: "down"; wait?: number };
type Role = "agent" | "relay";
/** Where the data comes from. One starts at "connecting"; live, the relay and what is stored follow each other. */
type State =
  | "connecting"
  | "live" // the agent on this computer sends its feed
  | "relay-live" // the relay answers, and a machine reported to it lately
  | "relay-cached" // the relay answers, but no machine has reported lately
  | "stored" // neither answers; the last state this browser saw
  | "none" // neither answers and this browser never saw anything
  | "sample"; // made-up numbers, because somebody asked for them
type World = {
  /** the page's own base, and what served it last time */
  self: string;
  hint: string;
  agentFor(role: string): Promise<Home | null>;
  relayFor(role: string): Home | null;
  ping(base: string, ms: number): Promise<{ home: string } | null>;
  feed(home: Home, cursor: string, ms: number): Promise<Answer>;
  socket(home: Home, role: Role): Promise<any>;
  subscribe(cursor: string): string;
  /** false when the feed does not continue what is shown */
  apply(feed: any, base: string, live: boolean): boolean;
  alive(at: any): void;
  cursor(base: string): string;
  reporting(): boolean;
  load(): Promise<boolean>;
  /** the agent's first feed, if it was asked for before the modules were here */
  early?(): Promise<any>;
  status(s: { state: State; why: string; base: string }): void;
  role(role: string): void;
  timers?: Record<"hedge" | "giveUp" | "patient" | "silence" | "relaySilence" | "probe" | "probeSlow" | "patience" | "poll" | "pollHidden" | "request", number>;
  clock?: () => number;
  later?: (fn: () => void, ms: number) => any;
  cancel?: (id: any) => void;
  visible?: () => boolean;
};
