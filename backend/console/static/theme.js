// Light or dark: what was chosen here, else what the system prefers. Loaded before the page is drawn.
(() => {
  const preferred = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const chosen = () => {
    try { return localStorage.getItem("theme"); } catch { return null; } // storage may be blocked
  };
  const show = (theme) => document.documentElement.setAttribute("data-bs-theme", theme);
  show(chosen() ?? preferred());
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme")?.addEventListener("click", () => {
      const next = document.documentElement.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
      show(next);
      try { localStorage.setItem("theme", next); } catch { /* it holds until the next page */ }
    });
  });
})();
