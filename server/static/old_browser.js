// Browsers that know no modules run this instead of the playground.
document.getElementById("status").textContent =
  "This browser is too old for the playground; one from 2021 or later can play it. POST /continue works from any shell: see Documentation.";
