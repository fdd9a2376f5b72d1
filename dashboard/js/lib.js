// The only module that names vendored files; everything else imports from here.
import { h, Component, htm } from "../vendor/preact.js";
export { render, Fragment, Component, useState, useEffect, useLayoutEffect, useRef, useMemo, signal, computed, effect, batch } from "../vendor/preact.js";

// htm keeps static subtrees for ever and Preact links each to its parents: together they keep every tree that
// was ever drawn, 128 kB a message. this[0] = 3 turns that cache off.
export const html = htm.bind(/** @this {any} */ function (...a) { this[0] = 3; return h.apply(null, /** @type {any} */ (a)); });

/** A component that is drawn again only when one of its props is another than before.
 * */
export function memo(draw) {
  return class extends Component {
    shouldComponentUpdate(next) {
      for (const k in next) if (next[k] !== this.props[k]) return true;
      return Object.keys(next).length !== Object.keys(this.props).length;
    }
    render() { return draw(this.props); }
  };
}
