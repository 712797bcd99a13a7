"use strict";
// Asks for /status.json again and again, and shows what has happened in between.

(() => {
  const EVERY = 2000; // milliseconds between two questions
  const KEPT = 300; // seconds that are drawn
  const PATIENCE = 10000; // milliseconds for an answer
  const { element, plot } = Plot;
  const byId = (id) => document.getElementById(id);

  const number = (value) => {
    if (value >= 1e6) return `${(value / 1e6).toPrecision(3)} M`;
    if (value >= 1e4) return `${(value / 1e3).toPrecision(3)} k`;
    return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toPrecision(2);
  };
  const rate = (value) => `${number(value)}/s`;
  const time = (seconds) => {
    if (seconds >= 1) return `${seconds.toPrecision(3)} s`;
    if (seconds >= 0.001) return `${(seconds * 1000).toPrecision(3)} ms`;
    return `${Math.round(seconds * 1e6)} µs`;
  };
  const size = (bytes) => {
    for (const [unit, factor] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
      if (bytes >= factor) return `${(bytes / factor).toPrecision(3)} ${unit}`;
    }
    return `${Math.round(bytes)} B`;
  };
  const percent = (value) => `${number(value * 100)} %`;
  const age = (seconds) => {
    for (const [unit, factor] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (seconds >= factor) return `${Math.floor(seconds / factor)} ${unit}`;
    }
    return `${Math.max(0, Math.round(seconds))} s`;
  };
  const or = (said, value) => (value === null || value === undefined ? "–" : said(value));

  const plots = {
    calls: plot("Calls", rate, KEPT, "sum"),
    latency: plot("How long calls take", time, KEPT, "most"),
    stages: plot("Where their time goes, on average", time, KEPT, "sum"),
    errors: plot("Failed calls", rate, KEPT, "sum"),
    waiting: plot("Under way, and waiting", number, KEPT, "sum"),
    batches: plot("Items in a batch, on average", number, KEPT, "most"),
    reasons: plot("Batches, by why they left", rate, KEPT, "sum"),
    processor: plot("Processor", percent, KEPT, "sum"),
    memory: plot("Memory", size, KEPT, "sum", true),
  };
  byId("plots").append(...Object.values(plots).map((one) => one.section));

  function fill(id, rows) {
    const section = byId(id);
    section.hidden = !rows.length;
    section.querySelector("tbody").replaceChildren(
      ...rows.map((cells) => {
        const row = element("tr");
        row.append(...cells.map((cell) => element("td", cell)));
        return row;
      }),
    );
  }

  function tables(report, found) {
    fill(
      "endpoints",
      found.rows.map(({ one, rate: calls, median, late }) => [
        Rates.nameOf(one),
        one.driver || "local",
        number(Rates.total(Object.values(one.codes))),
        number(Rates.failed(one.codes)),
        number(one.under_way),
        rate(calls),
        or(time, median),
        or(time, late),
        size(one.taken),
        size(one.given),
      ]),
    );
    const told = new Map(report.workers.map((one) => [one.worker, one]));
    const slots = report.slots.length
      ? report.slots
      : report.workers.map((one) => ({ number: one.worker, state: "ready", device: null, restarts: 0 }));
    fill(
      "workers",
      slots.map((slot) => {
        const one = told.get(String(slot.number));
        const of = (said) => (one ? said(one) : "–");
        return [
          String(slot.number),
          slot.stage ? `${slot.state}: ${slot.stage}` : slot.state,
          slot.device || "–",
          number(slot.restarts),
          of(() => age(report.now - one.started)),
          of(() => or(percent, found.processor[`worker ${one.worker}`])),
          of(() => or(size, one.memory)),
          of(() => number(one.threads)),
          of(() => (one.files === null ? "–" : `${one.files} of ${or(number, one.file_limit)}`)),
        ];
      }),
    );
    fill("counts", report.counts.map((one) => [one.name, one.executor ? Rates.nameOf(one) : "", one.what, number(one.number)]));
  }

  function figures(report, found) {
    const sum = (values) => Rates.total(Object.values(values));
    const shown = [
      ["calls", rate(sum(found.calls))],
      ["median", or(time, found.latency.median)],
      ["99 %", or(time, found.latency["99 %"])],
      ["failed", rate(sum(found.errors))],
      ["under way", number(found.waiting["under way"] || 0)],
      ["waiting", number(Rates.total(report.queues.map((one) => one.waiting)))],
      ["processes", number(report.workers.length)],
    ];
    byId("now").replaceChildren(
      ...shown.map(([name, value]) => {
        const group = element("div");
        group.append(element("dt", name), element("dd", value));
        return group;
      }),
    );
  }

  let before = null;
  const follow = Rates.following();

  function show(report) {
    const [was, now] = follow(report, before || report);
    const found = Rates.between(now, was);
    if (before) for (const [name, one] of Object.entries(plots)) one.push(found[name], performance.now() / 1000);
    tables(now, found);
    figures(now, found);
    before = report;
  }

  function state(text, bad) {
    const place = byId("state");
    if (place.textContent !== text) place.textContent = text; // a reader of the screen is told what is new
    place.className = bad ? "bad" : "";
  }

  async function ask() {
    const response = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Error(`the server answers with status ${response.status}`);
    return response.json();
  }

  async function turn() {
    if (!document.hidden) {
      try {
        const report = await ask();
        show(report);
        const missing = report.missing || [];
        state(missing.length ? `no answer in time from worker ${missing.join(", ")}; told of as before` : "live", missing.length > 0);
      } catch (error) {
        state(error instanceof TypeError || error.name === "TimeoutError" ? "the server does not answer" : error.message, true);
      }
    }
    setTimeout(turn, EVERY);
  }
  turn();
})();
