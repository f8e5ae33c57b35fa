// Before the first paint: the theme that was chosen here, if one was.
try {
  const chosen = localStorage.getItem("mixtura.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // storage is forbidden here: the system's theme holds
}
