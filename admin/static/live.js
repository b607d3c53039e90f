// Keeps the parts marked data-live up to date: polls with ETags, backs off on errors, slows down in hidden tabs.
"use strict";
const EVERY = 2000, HIDDEN = 10000, LONGEST = 60000;
const state = document.getElementById("live-state");
for (const region of document.querySelectorAll("[data-live]")) {
  let etag = "", wait = EVERY;
  const look = async () => {
    try {
      const answer = await fetch(region.dataset.live, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
      if (answer.status === 401) return location.reload();
      if (answer.status === 200) {
        etag = answer.headers.get("ETag") || "";
        // A reader who selects or steps through the region is not interrupted.
        if (!region.contains(document.activeElement) && !String(getSelection())) region.innerHTML = await answer.text();
        else etag = "";
      } else if (answer.status !== 304) throw new Error(answer.status);
      wait = EVERY;
      state.textContent = "";
    } catch {
      wait = Math.min(wait * 2, LONGEST);
      state.textContent = state.dataset.lost;
    }
    setTimeout(look, document.hidden ? Math.max(wait, HIDDEN) : wait);
  };
  setTimeout(look, wait);
}
