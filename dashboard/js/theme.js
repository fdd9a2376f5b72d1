// Runs before the first paint: a classic script, so that there is no flash of the other theme, and so that a
// pairing key is out of the address before anything else can read it there. It also asks the two questions whose
// answers the page will need first, while its modules are still on their way.
(function () {
  var page = /** @type {any} */ (window), link = /[#&]key=/.test(location.hash) ? location.hash : "", kept = function (name) { try { return localStorage.getItem("session-relay." + name); } catch (e) { return null; } };
  document.documentElement.dataset.theme = kept("theme") || "auto";
  if (link) { page.pairingLink = link; history.replaceState(null, "", location.pathname + location.search); }
  // After this turn, so that nothing here holds up the first paint.
  setTimeout(function () {
    // A key goes only to the relay that it belongs to; an agent on this computer answers without one.
    var here = new URL("./", location.href).href, mine = JSON.parse(kept("pairs") || "[]").filter(function (p) { return p.relay === here; }), chosen = mine.filter(function (p) { return p.key === kept("pair"); })[0] || mine.pop();
    var key = link ? !/[#&]relay=/.test(link) && new URLSearchParams(link.slice(1)).get("key") : kept("role") === "relay" && chosen && chosen.key;
    var open = !key && !link && kept("role") !== "relay" && /^(localhost|127\.0\.0\.1|\[::1\])$/.test(location.hostname);
    var get = function (path, headers) { return fetch("api/v1/" + path, { headers: headers, cache: "no-store", credentials: "omit" }).catch(function () { return null; }); };
    page.early = { open: open, ping: get("ping", {}), feed: key || open ? get("feed?" + new URLSearchParams({ tz: Intl.DateTimeFormat().resolvedOptions().timeZone, sessions: "200" }), key ? { Authorization: "Bearer " + key } : {}) : null };
  });
})();
