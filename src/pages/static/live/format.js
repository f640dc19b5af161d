// Numbers and times as the live page writes them.

const MINUTES = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const clock = new Intl.DateTimeFormat(undefined, { ...MINUTES, second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { ...MINUTES, month: "short", day: "numeric" });
const whole = new Intl.NumberFormat("en");

/** `7.3`, `12`, `1,204`: a digit behind the point where that says something. */
export function number(value) {
  return Math.abs(value) < 10 && !Number.isInteger(value) ? value.toFixed(1) : whole.format(Math.round(value));
}

/** An age: `12 ms`, `3.4 s`; `–` for none. */
export function age(ms) {
  if (!Number.isFinite(ms)) {
    return "–";
  }
  return ms < 1000 ? `${Math.round(ms)} ms` : seconds(ms / 1000);
}

/** A time that has passed: `3.4 s`, `12 min`, `5 h`, `3 days`. */
export function seconds(value) {
  if (value < 60) {
    return `${number(value)} s`;
  }
  if (value < 3600) {
    return `${Math.floor(value / 60)} min`;
  }
  const hours = Math.floor(value / 3600);
  return hours < 48 ? `${hours} h ${Math.floor((value % 3600) / 60)} min` : `${Math.floor(hours / 24)} days`;
}

/** `512 kB`, `1.4 GB`. */
export function bytes(value) {
  for (const [size, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (value >= size) {
      return `${number(value / size)} ${unit}`;
    }
  }
  return `${value} bytes`;
}

/** A time of day. */
export function time(at) {
  return clock.format(new Date(at));
}

/** A day with its time. */
export function date(at) {
  return day.format(new Date(at));
}

/** `1 stream`, `3 streams`. */
export function count(value, one, many = `${one}s`) {
  return `${whole.format(value)} ${value === 1 ? one : many}`;
}
