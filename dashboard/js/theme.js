// Runs before the first paint: a classic script, so that there is no flash of the other theme, and so that a
// pairing key is out of the address before anything else can read it there.
try { document.documentElement.dataset.theme = localStorage.getItem("session-relay.theme") || "auto"; } catch (e) { /* nothing is kept here: follow the system */ }
if (/[#&]key=/.test(location.hash)) { /** @type {any} */ (window).pairingLink = location.hash; history.replaceState(null, "", location.pathname + location.search); }
