// Charts show the values under the pointer, and hide a series by its name in the legend.
"use strict";
const tip = document.getElementById("tip");
for (const chart of document.querySelectorAll("svg.chart")) {
  const [low, high, isLog] = chart.dataset.x.split(" ");
  const scale = isLog ? Math.log10 : Number;
  const [left, right, top, bottom] = chart.dataset.box.split(" ").map(Number);
  const series = [...chart.querySelectorAll(".series")].map((group) => {
    const path = group.querySelector("[data-p]");
    const points = path.dataset.p ? path.dataset.p.split(",").map((point) => point.split(" ").map(Number)) : [];
    return { group, name: group.dataset.name, points };
  });
  const cross = document.createElementNS(chart.namespaceURI, "path");
  cross.setAttribute("class", "cross");
  chart.append(cross);

  chart.querySelectorAll(".key").forEach((key, number) => {
    key.setAttribute("tabindex", "0");
    key.setAttribute("role", "switch");
    key.setAttribute("aria-checked", "true");
    const toggle = () => {
      const off = key.classList.toggle("off");
      key.setAttribute("aria-checked", String(!off));
      series[number].group.classList.toggle("off", off);
    };
    key.addEventListener("click", toggle);
    key.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(); }
    });
  });

  // The place of a number on the x axis.
  const across = (x) => left + (right - left) * (scale(x) - scale(low)) / (scale(high) - scale(low) || 1);
  chart.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    const shown = series.filter(({ group, points }) => points.length && !group.classList.contains("off"));
    if (at.x < left - 8 || at.x > right + 8 || at.y < top || at.y > bottom || !shown.length) { leave(); return; }
    const nearest = (points) => points.reduce((best, point) =>
      Math.abs(across(point[0]) - at.x) < Math.abs(across(best[0]) - at.x) ? point : best);
    const all = shown.map(({ name, points }) => ({ name, point: nearest(points) }));
    const x = nearest(all.map(({ point }) => point))[0];
    const here = all.filter(({ point }) => Math.abs(across(point[0]) - across(x)) < 2);
    cross.setAttribute("d", `M${across(x)} ${top}V${bottom}`);
    tip.textContent = [`${chart.dataset.label} ${x}`, ...here.map(({ name, point }) => `${name}  ${point[1]}`)].join("\n");
    tip.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = Math.min(event.clientX + 14, innerWidth - width - 4) + "px";
    tip.style.top = Math.min(event.clientY + 14, innerHeight - height - 4) + "px";
  });
  function leave() { tip.hidden = true; cross.removeAttribute("d"); }
  chart.addEventListener("pointerleave", leave);
}
