"use strict";
// One plot: lines over time in SVG, and beside each line its name and its value, as text. Names are never markup.

const Plot = (() => {
  const LINES = 6; // colours that are told apart; what is more goes together as "others"
  const LEAST = 60; // seconds that are shown at least, so that the first minute is no dot at the edge
  const BREAK = 7; // seconds between two points that are not joined: the page was not looked at, or nobody answered
  const HEIGHT = 144, LEFT = 60, RIGHT = 8, TOP = 8, BOTTOM = 18;
  const SVG = "http://www.w3.org/2000/svg";

  function shape(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  // The next number of the form 1, 2 or 5 times a power of ten.
  function ceiling(value) {
    if (!(value > 0)) return 1;
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999999);
  }

  const doubled = (value) => 2 ** Math.ceil(Math.log2(Math.max(1, value)));

  // A plot of the last `kept` seconds, each point an object of numbers by name; `said` writes a value as text, `others` says what
  // is drawn for lines that are too many: their "sum", or the "most" of them; `binary` that values are doubled rather than tenfold.
  function plot(title, said, kept, others, binary) {
    const section = element("section");
    const heading = element("h2", title);
    const drawing = shape("svg", { role: "img" });
    const legend = element("ul");
    section.append(heading, drawing, legend);
    section.hidden = true;
    const points = [];
    let names = [], marked = null;

    const span = () => Math.max(LEAST, points.at(-1).at - points[0].at);

    // A line keeps its place, thus its colour, as long as the page is open.
    function ordered() {
      const last = {};
      for (const point of points) {
        for (const [name, value] of Object.entries(point.values)) last[name] = Math.max(last[name] || 0, value || 0);
      }
      names = names.filter((name) => name in last);
      const unseen = Object.keys(last).filter((name) => !names.includes(name));
      unseen.sort((one, other) => last[other] - last[one]);
      names.push(...unseen);
      return names;
    }

    function lines() {
      const all = ordered();
      if (all.length <= LINES) return all.map((name) => ({ name, of: (point) => point.values[name] }));
      const rest = all.slice(LINES - 1);
      const sum = (point) => rest.reduce((found, name) => found + (point.values[name] || 0), 0);
      const most = (point) => Math.max(...rest.map((name) => point.values[name] || 0));
      return [
        ...all.slice(0, LINES - 1).map((name) => ({ name, of: (point) => point.values[name] })),
        { name: others === "sum" ? `${rest.length} others` : `the most of ${rest.length} others`, of: others === "sum" ? sum : most },
      ];
    }

    function draw() {
      if (section.hidden) return;
      const shown = lines();
      const width = Math.max(160, drawing.clientWidth || 320);
      const here = marked === null ? points.length - 1 : Math.min(marked, points.length - 1);
      const values = shown.map((line) => points.map(line.of));
      const top = (binary ? doubled : ceiling)(Math.max(0, ...values.flat().filter((value) => value !== null && value !== undefined)));
      const x = (index) => LEFT + (width - LEFT - RIGHT) * (1 - (points.at(-1).at - points[index].at) / span());
      const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
      const made = [];
      for (const part of [0, 0.5, 1]) {
        made.push(shape("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(top * part), y2: y(top * part) }));
        made.push(shape("text", { x: LEFT - 6, y: y(top * part) + 4, "text-anchor": "end" }, said(top * part)));
      }
      made.push(shape("text", { x: width - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, "now"));
      made.push(shape("text", { x: LEFT, y: HEIGHT - 4 }, `${Math.round(span() / 60)} min ago`));
      values.forEach((line, index) => {
        let path = "", last = -1;
        line.forEach((value, at) => {
          if (value === null || value === undefined) return;
          const isJoined = last === at - 1 && at > 0 && points[at].at - points[last].at < BREAK;
          path += `${isJoined ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}${isJoined ? "" : "h-1"}`; // one alone is seen, too
          last = at;
        });
        if (path) made.push(shape("path", { class: `plotted s${index}`, d: path }));
      });
      if (marked !== null) made.push(shape("line", { class: "at", x1: x(here), x2: x(here), y1: TOP, y2: HEIGHT - BOTTOM }));
      drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
      drawing.setAttribute("preserveAspectRatio", "none");
      drawing.replaceChildren(...made);
      const told = shown.map((line, index) => {
        const value = values[index][here];
        const item = element("li");
        item.append(element("span", undefined, `swatch s${index}`), element("span", `${line.name}: ${value === null || value === undefined ? "–" : said(value)}`));
        return item;
      });
      legend.replaceChildren(...told);
      drawing.setAttribute("aria-label", `${title}: ${told.map((item) => item.textContent).join(", ")}`);
    }

    drawing.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect();
      const part = (event.clientX - box.left - LEFT) / Math.max(1, box.width - LEFT - RIGHT);
      const at = points.at(-1).at - span() * (1 - part);
      const far = (index) => Math.abs(points[index].at - at);
      const nearest = points.reduce((best, _, index) => (far(index) < far(best) ? index : best), 0);
      marked = far(nearest) < BREAK ? nearest : null;
      draw();
    });
    drawing.addEventListener("pointerleave", () => {
      marked = null;
      draw();
    });
    window.addEventListener("resize", draw);

    return {
      section,
      push(values, at) {
        points.push({ values, at });
        while (points[0].at < at - kept) points.shift();
        marked = null; // it was of a point that has moved
        section.hidden = !points.some((point) => Object.keys(point.values).length);
        draw();
      },
    };
  }

  return { element, plot };
})();
