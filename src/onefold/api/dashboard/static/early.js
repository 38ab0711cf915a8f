// Runs before the first paint: the theme, so that nothing flashes; then shortcuts and local times.
(() => {
  const root = document.documentElement;
  const choices = ["auto", "light", "dark"];
  const chosen = () => {
    try {
      const found = localStorage.getItem("onefold-theme");
      return choices.includes(found) ? found : "auto";
    } catch {
      return "auto"; // storage may be forbidden; the system's choice is good then
    }
  };
  const show = (choice) => (root.dataset.theme = choice);
  show(chosen());

  addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (target?.closest(".theme")) {
      const next = choices[(choices.indexOf(root.dataset.theme) + 1) % choices.length];
      try {
        localStorage.setItem("onefold-theme", next);
      } catch {
        // it holds for this page, then
      }
      show(next);
    }
    if (target?.closest(".help-open")) document.querySelector("#help")?.showModal();
    if (target?.closest(".help-close") || target?.id === "help") {
      document.querySelector("#help")?.close();
    }
  });

  const localise = (event) => {
    const time = event.target instanceof Element ? event.target.closest("time[datetime]") : null;
    if (!time || time.title) return;
    const moment = new Date(time.getAttribute("datetime"));
    if (!Number.isNaN(moment.valueOf())) {
      time.title = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
    }
  };
  addEventListener("pointerover", localise);
  addEventListener("focusin", localise);

  const places = {
    o: "/", p: "/positions", t: "/trades", d: "/decisions", e: "/explain", s: "/strategies",
    v: "/governance", r: "/transitions", j: "/journal", h: "/health", b: "/backtests",
  };
  // On a phone the pages are a strip: the one that is shown must be in sight.
  new MutationObserver((_, watcher) => {
    const here = document.querySelector("nav a[aria-current]");
    if (!here) return;
    watcher.disconnect();
    const strip = here.parentElement;
    strip.scrollLeft = here.offsetLeft - (strip.clientWidth - here.offsetWidth) / 2;
  }).observe(root, { childList: true, subtree: true });

  let leading = 0;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const at = event.target instanceof Element ? event.target : document.body;
    if (at.closest("input, select, textarea, [contenteditable]")) return;
    if (document.querySelector("dialog[open]:not(#help)")) return;
    if (event.key === "?") {
      const help = document.querySelector("#help");
      if (help) help.open ? help.close() : help.showModal();
    } else if (event.key === "g") {
      leading = Date.now();
    } else if (event.key in places && Date.now() - leading < 1500) {
      const account = new URLSearchParams(location.search).get("account");
      const query = account ? `?account=${encodeURIComponent(account)}` : "";
      location.assign(`/dashboard${places[event.key]}${query}`);
    }
  });
})();
