"use strict";
// What two reports, one after the other, say of the time between them. Pure: nothing here touches the page.

const Rates = (() => {
  const add = (one, other) => one.map((value, index) => value + other[index]);
  const total = (values) => values.reduce((sum, value) => sum + value, 0);

  // Sums of a process that was replaced begin anew: what is less than before counts as nothing.
  const more = (now, before) => now.map((value, index) => Math.max(0, value - (before ? before[index] || 0 : 0)));

  // The value below which a part of what is in the buckets is; null where nothing is. Within a bucket it is taken to be even.
  function quantile(buckets, bounds, part) {
    const all = total(buckets);
    if (!all) return null;
    let seen = 0;
    for (let index = 0; index < buckets.length; index++) {
      if (buckets[index] && seen + buckets[index] >= part * all) {
        if (index >= bounds.length) return bounds[bounds.length - 1];
        const low = index ? bounds[index - 1] : 0;
        return low + (bounds[index] - low) * ((part * all - seen) / buckets[index]);
      }
      seen += buckets[index];
    }
    return bounds[bounds.length - 1];
  }

  const nameOf = (one) => (one.executor === "-" ? "no endpoint" : `${one.executor}/${one.endpoint}`);
  const keyed = (list, ...names) => new Map((list || []).map((one) => [names.map((name) => one[name]).join("\n"), one]));
  const failed = (codes) => total(Object.entries(codes).map(([code, number]) => (code === "OK" ? 0 : number)));

  // The calls of one row between two reports.
  function callsBetween(one, before, seconds, bounds) {
    const buckets = more(one.buckets, before && before.buckets);
    return {
      one,
      buckets,
      rate: total(buckets) / seconds,
      median: quantile(buckets, bounds, 0.5),
      late: quantile(buckets, bounds, 0.99),
      codes: Object.fromEntries(
        Object.entries(one.codes).map(([code, number]) => [code, Math.max(0, number - ((before && before.codes[code]) || 0))]),
      ),
    };
  }

  // A number, list or object of numbers by name, less a part of what it is more than before; what is less has begun anew.
  function less(now, was, share) {
    if (typeof now === "number") return now - (now - (typeof was === "number" && was <= now ? was : 0)) * share;
    if (Array.isArray(now)) return now.map((one, index) => less(one, was && was[index], share));
    if (now === null || typeof now !== "object") return now;
    return Object.fromEntries(Object.entries(now).map(([name, one]) => [name, less(one, was && was[name], share)]));
  }

  const PARTS = ["calls", "stages", "batches", "queues", "counts"];
  const names = (one) => Object.values(one).filter((value) => typeof value === "string").join("\n");

  // What a process had when a share of what is between its two answers was still to come.
  function earlier(now, was, share) {
    const found = { process: less(now.process, was.process, share) };
    for (const part of PARTS) {
      const had = new Map(was[part].map((one) => [names(one), one]));
      found[part] = now[part].map((one) => less(one, had.get(names(one)), share));
    }
    return found;
  }

  function plus(one, other) {
    if (typeof one === "number") return one + (other || 0);
    if (Array.isArray(one)) return one.map((value, index) => plus(value, other[index]));
    if (one === null || typeof one !== "object") return one;
    const all = Object.keys({ ...one, ...other });
    return Object.fromEntries(all.map((name) => [name, plus(one[name] === undefined ? 0 : one[name], (other || {})[name])]));
  }

  // A report of what several processes told.
  function merged(report, answers, told) {
    const found = { ...report, workers: told.map((one) => one.process) };
    for (const part of PARTS) {
      const by = new Map();
      for (const answer of answers) {
        for (const one of answer[part]) by.set(names(one), by.has(names(one)) ? plus(by.get(names(one)), one) : one);
      }
      found[part] = [...by.keys()].sort().map((name) => by.get(name));
    }
    return found;
  }

  // Follows the reports of one server: gives of each the one before and itself so that both tell of the same processes. Each has
  // before what it had if its calls came evenly since it last answered; who is missing now is told of as before.
  function following() {
    let last = new Map();
    return (after, before) => {
      if (!(after.answers || []).length) {
        last = new Map();
        return [before, after];
      }
      const then = [];
      for (const one of after.answers) {
        const was = last.get(one.process.worker);
        last.set(one.process.worker, one);
        if (was && Math.abs(was.process.started - one.process.started) < 2) {
          then.push(earlier(one, was, one.now > was.now ? (after.now - before.now) / (one.now - was.now) : 0));
        } else if (one.process.started < before.now) then.push(one);
      }
      const told = new Set(after.answers.map((one) => one.process.worker));
      last = new Map([...last].filter(([worker]) => told.has(worker) || after.missing.includes(worker)));
      const away = [...last].filter(([worker]) => !told.has(worker)).map(([, one]) => one);
      return [merged(before, [...then, ...away], then), merged(after, [...after.answers, ...away], after.answers)];
    };
  }

  function sums(pairs) {
    const found = {};
    for (const [name, value] of pairs) found[name] = (found[name] || 0) + value;
    return found;
  }

  // All that is plotted of the time between two reports: a number by the name of its line, or null where there is none.
  function between(now, before) {
    if (now.now < before.now) before = now; // the server's clock was put back
    const seconds = Math.max(0.001, now.now - before.now);
    const old = keyed(before.calls, "executor", "endpoint", "driver");
    const rows = now.calls.map((one) =>
      callsBetween(one, old.get([one.executor, one.endpoint, one.driver].join("\n")), seconds, now.bounds),
    );
    const all = rows.reduce((sum, row) => add(sum, row.buckets), new Array(now.bounds.length + 1).fill(0));
    const oldStages = keyed(before.stages, "executor", "endpoint", "stage");
    const took = {};
    for (const one of now.stages) {
      const was = oldStages.get([one.executor, one.endpoint, one.stage].join("\n"));
      const entry = (took[one.stage] = took[one.stage] || { seconds: 0, times: 0 });
      entry.seconds += Math.max(0, one.seconds - (was ? was.seconds : 0));
      entry.times += total(more(one.buckets, was && was.buckets));
    }
    const oldBatches = keyed(before.batches, "executor", "endpoint");
    const batches = now.batches.map((one) => {
      const was = oldBatches.get([one.executor, one.endpoint].join("\n"));
      const number = total(more(one.buckets, was && was.buckets));
      return [nameOf(one), number ? Math.max(0, one.items - (was ? was.items : 0)) / number : null];
    });
    const reasons = now.batches.flatMap((one) => {
      const was = oldBatches.get([one.executor, one.endpoint].join("\n"));
      return Object.entries(one.reasons).map(([reason, number]) => [
        reason,
        Math.max(0, number - ((was && was.reasons[reason]) || 0)) / seconds,
      ]);
    });
    const oldWorkers = keyed(before.workers, "worker");
    return {
      rows,
      calls: sums(rows.map((row) => [nameOf(row.one), row.rate])),
      latency: { median: quantile(all, now.bounds, 0.5), "95 %": quantile(all, now.bounds, 0.95), "99 %": quantile(all, now.bounds, 0.99) },
      stages: Object.fromEntries(Object.entries(took).map(([stage, entry]) => [stage, entry.times ? entry.seconds / entry.times : null])),
      waiting: sums([
        ...now.queues.map((one) => [`waiting: ${one.queue}`, one.waiting]),
        ...now.calls.map((one) => ["under way", one.under_way]),
      ]),
      batches: Object.fromEntries(batches),
      reasons: sums(reasons),
      errors: sums(
        rows.flatMap((row) =>
          Object.entries(row.codes)
            .filter(([code]) => code !== "OK")
            .map(([code, number]) => [code, number / seconds]),
        ),
      ),
      memory: Object.fromEntries(now.workers.map((one) => [`worker ${one.worker}`, one.memory])),
      processor: Object.fromEntries(
        now.workers.map((one) => {
          const was = oldWorkers.get(one.worker);
          return [`worker ${one.worker}`, was ? Math.max(0, one.cpu - was.cpu) / seconds : null];
        }),
      ),
    };
  }

  return { between, failed, following, nameOf, quantile, total };
})();
