// The only module that names vendored files; everything else imports from here.
import { h, Component, htm } from "../vendor/preact.js";
import { label, isSealed } from "./format.js";
export { render, useState, useEffect, useLayoutEffect, useRef, useMemo, signal, computed, effect, batch } from "../vendor/preact.js";

// htm keeps static subtrees for ever and Preact links each to its parents: together they keep every tree that
// was ever drawn, 128 kB a message. this[0] = 3 turns that cache off.
export const html = htm.bind(/** @this {any} */ function (...a) { this[0] = 3; return h.apply(null, /** @type {any} */ (a)); });

/** A component that is drawn again only when one of its props is another than before. */
export function memo(draw) {
  return class extends Component {
    shouldComponentUpdate(next) {
      for (const k in next) if (next[k] !== this.props[k]) return true;
      return Object.keys(next).length !== Object.keys(this.props).length;
    }
    render() { return draw(this.props); }
  };
}

/** A name that people gave, in a direction of its own; one that this browser cannot open says that it is sealed. */
export const name = (t) => html`<bdi class=${isSealed(t) ? "sealed" : null} title=${isSealed(t) ? "Sealed: the link with the seal key opens it" : null}>${label(t)}</bdi>`;

let more = /** @type {Promise<any>|undefined} */ (undefined);
/** A module that is loaded on use, once the style of such parts is here. @param {Promise<any>} module @returns {Promise<any>} */
export function styled(module) {
  more ??= new Promise((done) => {
    const link = document.head.appendChild(Object.assign(document.createElement("link"), { rel: "stylesheet", href: "css/more.css" }));
    link.onload = link.onerror = done;
  });
  return Promise.all([module, more]).then(([m]) => m);
}
