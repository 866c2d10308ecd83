// Classes of predicted hours to full, and their colours: one set by traffic-light habit, one that colour-blind eyes can tell apart.

export const CLASSES = [
  { id: 'h6', label: 'under 6 h', below: 6, radius: 6.6 },
  { id: 'h12', label: '6 – 12 h', below: 12, radius: 5.8 },
  { id: 'h24', label: '12 – 24 h', below: 24, radius: 5.1 },
  { id: 'h48', label: '24 – 48 h', below: 48, radius: 4.5 },
  { id: 'later', label: 'over 48 h', below: Infinity, radius: 4.1 },
  { id: 'unknown', label: 'no forecast', below: null, radius: 4.1 },
  { id: 'silent', label: 'sensor silent', below: null, radius: 4.6 },
];

const USUAL = { h6: '#c5283d', h12: '#e8762c', h24: '#e6b51e', h48: '#a3c75a', later: '#3d9960', unknown: '#ffffff', silent: '#98a2ab' };
// Orange to blue, dark at both ends; told apart by lightness too.
const SAFE = { h6: '#8a2b06', h12: '#e37f1d', h24: '#f6c887', h48: '#92c0de', later: '#2868a6', unknown: '#ffffff', silent: '#98a2ab' };

let colours = USUAL;

export function useSafeColours(safe) {
  colours = safe ? SAFE : USUAL;
}

export const colourOf = (id) => colours[id];

export function classOf(bin) {
  if (bin.sensor_health === 'silent') return CLASSES[6];
  const hours = bin.hours_to_full_p50;
  if (hours === null || hours === undefined) return CLASSES[5];
  return CLASSES.find((entry) => hours < entry.below) ?? CLASSES[4];
}

// Uncertainty from 0 (sharp) to 1 (vague): the width of p10–p90 against the median.
export function uncertainty(bin) {
  const { hours_to_full_p10: low, hours_to_full_p50: middle, hours_to_full_p90: high } = bin;
  if (low === null || high === null || middle === null || low === undefined || high === undefined) return 0;
  return Math.min(1, Math.max(0, (high - low) / (2 * middle + 6)));
}

// Text on a swatch: dark on light colours, white on dark ones.
export function inkOn(hex) {
  const part = (at) => parseInt(hex.slice(at, at + 2), 16);
  return 0.299 * part(1) + 0.587 * part(3) + 0.114 * part(5) > 150 ? '#1b2229' : '#ffffff';
}
