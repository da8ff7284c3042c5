// Trying a service: says what the server cannot say in place, because the answer never comes.
addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector(".try-form");
  if (!form) return;
  const answer = document.getElementById("answer");
  const refuse = (sentence) => {
    const alert = document.createElement("div");
    alert.className = "alert alert-danger";
    alert.setAttribute("role", "alert");
    alert.textContent = sentence;
    answer.replaceChildren(alert);
  };
  form.addEventListener("htmx:beforeRequest", (event) => {
    const file = form.elements.image.files[0];
    if (!file) event.preventDefault();
    else if (file.size > Number(form.dataset.limit)) {
      event.preventDefault();
      refuse(form.dataset.tooLarge);
    }
  });
  form.addEventListener("htmx:responseError", (event) => {
    const page = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    refuse(page.querySelector(".empty-subtitle")?.textContent ?? form.dataset.unanswered);
  });
  form.addEventListener("htmx:sendError", () => refuse(form.dataset.unanswered));
});
