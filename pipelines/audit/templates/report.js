"use strict";
// Comfort only: everything on the page can be read, and every picture shown, without this script.
(function () {
  var root = document.documentElement;
  var said = document.getElementById("said");
  var timer = 0;

  function say(words) {
    said.textContent = words;
    clearTimeout(timer);
    timer = setTimeout(function () { said.textContent = ""; }, 2500);
  }

  // Theme: as the system says, light, dark.
  var themes = ["auto", "light", "dark"];
  var button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", function () {
    var name = themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % themes.length];
    if (name === "auto") { delete root.dataset.theme; } else { root.dataset.theme = name; }
    document.getElementById("theme-name").textContent = name;
  });

  // A bar says its numbers below its chart.
  document.querySelectorAll("figure.chart").forEach(function (figure) {
    var line = figure.querySelector(".said-here");
    figure.addEventListener("pointerover", function (event) {
      var column = event.target.closest(".column");
      if (column) { line.textContent = column.dataset.say; }
    });
    figure.addEventListener("pointerleave", function () { line.textContent = ""; });
  });

  // A uid can be copied, by click or by keyboard.
  document.querySelectorAll("code.uid").forEach(function (code) {
    code.tabIndex = 0;
    code.setAttribute("role", "button");
    function copy() {
      var uid = code.title || code.textContent;
      var done = function () { say("copied " + uid); };
      if (navigator.clipboard && window.isSecureContext) {
        navigator.clipboard.writeText(uid).then(done, function () { say(uid); });
      } else {
        say(uid);
      }
    }
    code.addEventListener("click", copy);
    code.addEventListener("keydown", function (event) {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); copy(); }
    });
  });

  // The contents mark what is on screen.
  var links = new Map();
  document.querySelectorAll(".contents a").forEach(function (link) { links.set(link.hash.slice(1), link); });
  if (window.IntersectionObserver) {
    var seen = new Set();
    var watcher = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        if (entry.isIntersecting) { seen.add(entry.target.id); } else { seen.delete(entry.target.id); }
      });
      var marked = false;
      links.forEach(function (link, id) {
        var here = seen.has(id) && !marked && !(id === "rules" && seen.size > 1);
        link.classList.toggle("here", here);
        marked = marked || here;
      });
    }, { rootMargin: "-80px 0px -55% 0px" });
    links.forEach(function (link, id) {
      var target = document.getElementById(id);
      if (target) { watcher.observe(target); }
    });
  }
})();
