"use strict";
(() => {
  // Ask whether the sweep has changed, and show the page anew when it has.
  const { etag, seconds } = document.getElementById("live").dataset;
  const button = document.getElementById("pause");
  const said = document.getElementById("live-state");
  let paused = sessionStorage.getItem("paused") === "yes";
  const show = () => {
    button.setAttribute("aria-pressed", `${paused}`);
    button.textContent = paused ? "Resume updates" : "Pause updates";
    said.textContent = paused ? "Updates are paused." : "This page follows the sweep.";
  };
  button.addEventListener("click", () => {
    paused = !paused;
    sessionStorage.setItem("paused", paused ? "yes" : "no");
    show();
  });
  show();
  const ask = async () => {
    if (paused || document.visibilityState === "hidden") return;
    try {
      const answer = await fetch(location.href, { method: "HEAD", cache: "no-store" });
      if (paused) return;
      if (answer.ok && answer.headers.get("ETag") !== etag) location.reload();
      else said.textContent = answer.ok ? "This page follows the sweep." : "The store does not answer.";
    } catch {
      said.textContent = "The server does not answer; it may have ended.";
    }
  };
  setInterval(ask, 1000 * Number(seconds));
})();
