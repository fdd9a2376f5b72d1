export { h, render, Fragment, Component } from "preact";
export { useEffect, useLayoutEffect, useMemo } from "preact/hooks";
export { computed, effect, batch } from "@preact/signals";
export { default as htm } from "htm";
import type { Signal } from "@preact/signals";
// What begins empty may become anything.
type Wide<T> = {} extends T ? any : T extends null | undefined ? any : T extends never[] ? any[] : T extends boolean ? boolean : T extends number ? number : T extends string ? string : T;
export function useState<T>(initial: T | (() => T)): [Wide<T>, (next: Wide<T> | ((old: Wide<T>) => Wide<T>)) => void];
export function useRef<T>(initial: T): { current: Wide<T> };
export function signal<T>(value: T): Signal<Wide<T>>;
