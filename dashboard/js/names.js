// What models, tools and limits are called, and which colour a model has. Pure.

const FAMILY = /opus|sonnet|haiku/;
const TOOLS = /** @type {Record<string, string>} */ ({ claude_code: "Claude Code", claude_desktop: "Claude Desktop", codex: "Codex", gemini: "Gemini", opencode: "OpenCode", unknown: "Unknown tool" });

/** "claude-opus-4-1-20250805" -> "Opus 4.1"; a name we cannot read stays as it is. */
export function modelName(id) {
  if (!id) return "Unknown";
  const bare = id.replace(/^[\w.-]+\/(?=[\w.-]+$)/, "").replace(/[-@]\d{8}.*$/, "").replace(/^(?:[a-z]{2,4}\.)?(?:anthropic\.)?claude-/, "").replace(/-(?:latest|v\d+(?::\d+)?)$/, "");
  const family = bare.match(FAMILY)?.[0];
  if (!family || !/^(?:\d+(?:[-.]\d+)?-)?(?:opus|sonnet|haiku)(?:-\d+(?:[-.]\d+)?)?$/.test(bare)) return /^gpt/i.test(bare) ? "GPT" + bare.slice(3).replace(/-(?=[a-z])/g, " ") : bare || id;
  const version = bare.replace(family, "").replace(/^-|-$/g, "").replace("-", ".");
  return family[0].toUpperCase() + family.slice(1) + (version ? " " + version : "");
}
export const toolName = (type) => TOOLS[type] ?? (type ? type.replace(/_/g, " ").replace(/^./, (c) => c.toUpperCase()) : "Unknown tool");

/** Which colour class each model has. The largest model of a family has the family's colour; the next ones take
 * what is left, and after that all are grey: more colours than a person can tell apart say nothing.
 * @param {string[]} models largest first @returns {Map<string, string>} */
export function modelColours(models) {
  const spare = ["p5", "p4"], taken = new Set(), out = new Map();
  for (const id of models) {
    const family = id.match(FAMILY)?.[0] ?? "";
    const colour = family && !taken.has(family) ? family : spare.shift() ?? "other";
    taken.add(colour);
    out.set(id, colour);
  }
  return out;
}
/** A window that a server did not label. */
export function limitName(l) {
  if (l.label) return l.label;
  const w = l.window ?? "";
  if (w === "five_hour") return "Five hours";
  if (w === "seven_day") return "Week, all models";
  return w.startsWith("seven_day_") ? "Week, " + modelName(w.slice(10)) : w.replace(/_/g, " ");
}
/** How long a window is, in hours; 0 when its name does not say. */
export const windowHours = (w) => (w?.startsWith("five_hour") ? 5 : w?.startsWith("seven_day") ? 168 : 0);

const PROVENANCE = /** @type {Record<string, string>} */ ({
  observed: "Read from the tool's own log, request by request.",
  declared: "As a tracker declared it: a total without times, so it is booked at the session's start.",
  estimated: "An estimate. No log with real counts was found.",
});
export const provenanceText = (p) => PROVENANCE[p ?? ""] ?? "Where these numbers come from is not recorded.";
