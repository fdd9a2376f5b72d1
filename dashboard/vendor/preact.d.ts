export { h, render, Fragment, Component } from "preact";
export { useState, useEffect, useLayoutEffect, useRef, useMemo } from "preact/hooks";
export { signal, computed, effect, batch } from "@preact/signals";
export { default as htm } from "htm";
