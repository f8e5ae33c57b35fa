// Every text whose contrast with what is under it is less than WCAG 2.2 AA asks for.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const painted = (color, under) => {
    canvas.fillStyle = `rgb(${under.join(" ")})`;
    canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) =>
    0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const passed = "svg, math, option, noscript, .sr, [disabled], [aria-hidden=true]";
  const seen = { opacityProperty: true, visibilityProperty: true };
  const clear = "rgba(0, 0, 0, 0)";
  const poor = new Set();
  for (const element of document.querySelectorAll("body *")) {
    const texts = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
    const words = texts.map((node) => node.data.trim()).join(" ").trim();
    if (!words || element.closest(passed) || !element.checkVisibility(seen)) continue;
    const chain = [];
    for (let node = element; node; node = node.parentElement) chain.unshift(getComputedStyle(node));
    const style = chain[chain.length - 1];
    if (chain.some((one) => one.opacity !== "1") || style.color === clear) continue;
    const under = chain.reduce((ground, one) => painted(one.backgroundColor, ground), [255, 255, 255]);
    const [a, b] = [light(painted(style.color, under)), light(under)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < (large ? 3 : 4.5)) {
      poor.add(`${words.slice(0, 30)} (${element.className}): ${contrast.toFixed(2)}`);
    }
  }
  return [...poor];
}
