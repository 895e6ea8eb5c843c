"use strict";
// Numbers as text, each with its unit.
const DAY_SECONDS = 86400;
const NONE = "–";

const grouped = (number) => Math.round(number).toLocaleString("en");

function scaled(number, unit) {
  const steps = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
  const [size, prefix] = steps.find(([least]) => number >= least) || steps[3];
  const value = number / size;
  return (Number.isInteger(value) || value >= 100 ? grouped(value) : value.toFixed(value >= 10 ? 1 : 2)) + " " + prefix + unit;
}

const count = (number) => number < 1e6 ? grouped(number) : scaled(number, "");
const rate = (number) => number < 1e5 ? digits(number) + " /s" : scaled(number, "/s");
const bytes = (number) => scaled(number, "B");
const byteRate = (number) => scaled(number, "B/s");
const percent = (part) => digits(part * 100) + " %";

const digits = (number) => number >= 9.95 || number === 0 ? grouped(number) : number.toFixed(1);
/** Omit meaningless digits of a number that does not change. */
const constant = (text) => text.replace(".0 ", " ");
const seconds = (number) => number < 0.9995 ? digits(number * 1000) + " ms" : digits(number) + " s";

function latency(number, axis) {
  // Values beyond the ends of the axis are not known exactly.
  if (number <= axis.least) return "≤ " + constant(seconds(axis.least));
  return (number >= axis.most ? "≥ " : "") + seconds(number);
}

function span(number) {
  const days = Math.floor(number / DAY_SECONDS);
  const parts = [[Math.floor(number % DAY_SECONDS / 3600), "h"], [Math.floor(number % 3600 / 60), "min"], [Math.floor(number % 60), "s"]];
  if (days) return days + " d " + parts[0].join(" ");
  const start = parts.findIndex(([value]) => value);
  return start < 0 ? "0 s" : parts.slice(start, start + 2).map((part) => part.join(" ")).join(" ");
}

const time = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
const day = (at) => new Date(at * 1000).toLocaleString("sv-SE").slice(0, 16);

const FORMATS = {count, rate, bytes, byteRate, percent, seconds, span, latency, text: String};
