// Runs before the first paint: a classic script, so that there is no flash of the other theme.
try { document.documentElement.dataset.theme = localStorage.getItem("session-relay.theme") || "auto"; } catch (e) { /* nothing is kept here: follow the system */ }
