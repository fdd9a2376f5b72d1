// A classic script before the first paint: no flash of the other theme, and a pairing key is out of the address before
// anything can read it there. It also asks what the page needs first, while the modules are still on their way.
(function () {
  var page = /** @type {any} */ (window), link = /[#&](key|seal)=/.test(location.hash) ? location.hash : "", pairs = /[#&]key=/.test(link), kept = function (name) { try { return localStorage.getItem("session-relay." + name); } catch (e) { return null; } };
  document.documentElement.dataset.theme = kept("theme") || "auto";
  if (link) { page.pairingLink = link; history.replaceState(null, "", location.pathname + location.search); }
  // After this turn, so that nothing here holds up the first paint.
  setTimeout(function () {
    // A key goes only to the relay that it belongs to; an agent on this computer answers without one.
    var here = new URL("./", location.href).href, own;
    try { own = JSON.parse(kept("pairs") || "").filter(function (p) { return p.relay === here && p.key === kept("pair"); })[0]; } catch (e) { /* no pairs */ }
    var key = pairs ? !/[#&]relay=/.test(link) && new URLSearchParams(link.slice(1)).get("key") : own && own.key;
    var open = !key && !pairs && kept("role") !== "relay" && /^(localhost|127\.0\.0\.1|\[::1\])$/.test(location.hostname);
    var get = function (path, headers) { return fetch("api/v1/" + path, { headers: headers, cache: "no-store", credentials: "omit" }).catch(function () { return null; }); };
    if (link) import("./pairing.js").catch(function () {}); // here by the time that main.js reads the link
    page.early = { open: open, ping: get("ping", {}), feed: key || open ? get("feed?" + new URLSearchParams({ tz: Intl.DateTimeFormat().resolvedOptions().timeZone, sessions: "120" }), key ? { Authorization: "Bearer " + key } : {}) : null };
  });
})();
