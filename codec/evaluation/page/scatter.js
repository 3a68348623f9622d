// Two systems, utterance by utterance: a point below the diagonal is one on which the second scores less.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("scores").textContent);
  const chosen = (name) => document.getElementById(`scatter-${name}`);
  const [valueBox, firstBox, secondBox] = ["value", "first", "second"].map(chosen);
  const figure = document.getElementById("scatter");
  const said = document.getElementById("scatter-said");
  const SIZE = 360, LEFT = 46, RIGHT = 350, TOP = 10, BOTTOM = 318;

  const element = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // Round numbers that enclose low to high, in about four steps of 1, 2 or 5 times a power of ten.
  const ticks = (low, high) => {
    if (high - low <= Math.max(1e-9 * Math.max(Math.abs(low), Math.abs(high)), 1e-10)) {
      const margin = 0.1 * (Math.abs(low) > 1e-9 ? Math.abs(low) : 1);
      [low, high] = [low - margin, high + margin];
    }
    const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
    const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
    return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
  };

  const draw = () => {
    const value = data.values[valueBox.value];
    const first = Number(firstBox.value), second = Number(secondBox.value);
    const points = data.ids
      .map((id, index) => ({ id, x: value.scores[first][index], y: value.scores[second][index] }))
      .filter(({ x, y }) => x !== null && y !== null);
    const unit = value.unit ? ` ${value.unit}` : "";
    const show = (number) => number.toFixed(value.digits) + unit;
    figure.replaceChildren();
    if (!points.length) {
      said.textContent = "No utterance has this score in both.";
      return;
    }
    const numbers = points.flatMap(({ x, y }) => [x, y]);
    const scale = ticks(numbers.reduce((a, b) => Math.min(a, b)), numbers.reduce((a, b) => Math.max(a, b)));
    const share = (number) => (number - scale[0]) / (scale[scale.length - 1] - scale[0]);
    const x = (number) => LEFT + share(number) * (RIGHT - LEFT);
    const y = (number) => BOTTOM - share(number) * (BOTTOM - TOP);
    const mean = points.reduce((sum, point) => sum + point.y - point.x, 0) / points.length;
    const sign = value.better === "higher" ? 1 : -1;
    const better = points.filter((point) => sign * (point.y - point.x) > 0).length;
    const equal = points.filter((point) => point.y === point.x).length;
    const words = `${points.length} of ${data.ids.length} utterances with ${value.label} in both. ` +
      `${data.systems[second]} is better on ${better}, equal on ${equal}; ` +
      `mean difference ${mean > 0 ? "+" : ""}${show(mean)}.`;
    const svg = element("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img",
      "aria-label": `${value.label}: ${data.systems[second]} over ${data.systems[first]}. ${words}` });
    for (const tick of scale) {
      const label = String(Number(tick.toPrecision(4)));
      svg.append(
        element("line", { class: "grid", x1: x(tick), x2: x(tick), y1: TOP, y2: BOTTOM }),
        element("line", { class: "grid", x1: LEFT, x2: RIGHT, y1: y(tick), y2: y(tick) }),
        element("text", { class: "label", x: x(tick), y: BOTTOM + 14, "text-anchor": "middle" }, label),
        element("text", { class: "label", x: LEFT - 5, y: y(tick) + 3.5, "text-anchor": "end" }, label),
      );
    }
    svg.append(
      element("line", { class: "diagonal", x1: LEFT, y1: BOTTOM, x2: RIGHT, y2: TOP }),
      element("text", { class: "label", x: RIGHT, y: BOTTOM + 30, "text-anchor": "end" }, `${data.systems[first]} →`),
      element("text", { class: "label", x: LEFT + 6, y: TOP + 10 }, `↑ ${data.systems[second]}`),
    );
    for (const point of points) {
      const circle = element("circle", { cx: x(point.x), cy: y(point.y), r: 4 });
      const about = `${point.id}: ${show(point.x)}, ${show(point.y)}`;
      circle.append(element("title", {}, about));
      circle.addEventListener("click", () => {
        svg.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
        circle.classList.add("chosen");
        said.textContent = about + ". ";
        const index = data.heard.indexOf(point.id);
        if (index < 0) return;
        const link = document.createElement("a");
        link.href = `#utterance-${index}`;
        link.textContent = "Listen to it";
        said.append(link);
      });
      svg.append(circle);
    }
    figure.append(svg);
    said.textContent = words;
  };

  for (const box of [valueBox, firstBox, secondBox]) box.addEventListener("change", draw);
  draw();
})();
