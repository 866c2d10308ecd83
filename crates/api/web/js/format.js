// Numbers and times as text. Unknown values are an en dash everywhere, never zero.

export const UNKNOWN = '–';

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

export function count(value) {
  if (!known(value)) return UNKNOWN;
  if (value >= 10_000_000) return `${(value / 1e6).toFixed(1)} M`;
  return Math.round(value).toLocaleString('en').replaceAll(',', '\u202f');
}

export function percent(value) {
  return known(value) ? `${Math.round(value * 100)} %` : UNKNOWN;
}

// Probabilities keep a digit where whole percents would say nothing.
export function chance(value) {
  if (!known(value)) return UNKNOWN;
  const part = value * 100;
  if (part > 0 && part < 0.1) return '< 0.1 %';
  return `${part < 10 ? part.toFixed(1) : Math.round(part)} %`;
}

export function hours(value) {
  if (!known(value)) return UNKNOWN;
  if (value <= 0.05) return 'full';
  if (value < 10) return `${value.toFixed(1)} h`;
  if (value < 72) return `${Math.round(value)} h`;
  return `${Math.round(value / 24)} d`;
}

export function hoursRange(low, high) {
  if (!known(low) || !known(high)) return '';
  // What is certain, such as a bin that is full, has no interval.
  return hours(low) === hours(high) ? '' : `${hours(low)} – ${hours(high)}`;
}

export function duration(ms) {
  if (!known(ms)) return UNKNOWN;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

export function ago(ms, nowMs) {
  return known(ms) && known(nowMs) ? `${duration(Math.max(0, nowMs - ms))} ago` : UNKNOWN;
}

const clockFormat = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: '2-digit', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit', timeZone: 'UTC' });
const shortFormat = new Intl.DateTimeFormat('en-GB', { weekday: 'short', hour: '2-digit', minute: '2-digit', timeZone: 'UTC' });

const dayFormat = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: '2-digit', month: 'short', hour: '2-digit', minute: '2-digit', timeZone: 'UTC' });

export const clock = (ms) => (known(ms) ? `${clockFormat.format(ms).replace(',', '')} UTC` : UNKNOWN);
export const shortTime = (ms) => (known(ms) ? shortFormat.format(ms).replace(',', '') : UNKNOWN);
export const dayTime = (ms) => (known(ms) ? dayFormat.format(ms).replace(',', '') : UNKNOWN);

// An amount in the currency's minor unit.
export function money(minor, currency) {
  if (!known(minor)) return UNKNOWN;
  try {
    const format = new Intl.NumberFormat('en', { style: 'currency', currency });
    const shown = minor / 10 ** format.resolvedOptions().maximumFractionDigits;
    return Math.abs(shown) < 100 ? format.format(shown) : new Intl.NumberFormat('en', { style: 'currency', currency, maximumFractionDigits: 0 }).format(shown);
  } catch {
    return `${count(minor)} ${currency ?? ''} (minor units)`;
  }
}

export const signed = (value, digits, unit = '') => (known(value) ? `${value > 0 ? '+' : value < 0 ? '−' : '±'}${Math.abs(value).toFixed(digits)}${unit && ` ${unit}`}` : UNKNOWN);

export const number = (value, digits, unit) => (known(value) ? `${value.toFixed(digits)} ${unit}` : UNKNOWN);

const WORDS = { low_battery: 'low battery', on_break: 'on break', broken_down: 'broken down', ok: 'ok' };
export const words = (name) => (name ? WORDS[name] ?? name.replaceAll('_', ' ') : UNKNOWN);

// Builds an element: attributes by name, `text`, and children.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  fill(made, attributes, children);
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  fill(made, attributes, children);
  return made;
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'text') made.textContent = value;
    else made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
}

// Writes text only when it changed, so that nothing flickers and screen readers are left in peace.
export function setText(target, text) {
  const made = typeof target === 'string' ? document.getElementById(target) : target;
  if (made.textContent !== text) made.textContent = text;
}
