// A bin's forecast as a picture: a gauge, and the levels ahead with their 10–90 % band.

import { percent, svg } from './format.js';
import { colourOf } from './palette.js';

const WIDTH = 330;
const HEIGHT = 158;
const LEFT = 34;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 24;
const HOURS = 48;
const LEVEL_TOP = 1.2;

const x = (hour) => LEFT + (hour / HOURS) * (WIDTH - LEFT - RIGHT);
const y = (level) => TOP + (1 - Math.min(level, LEVEL_TOP) / LEVEL_TOP) * (HEIGHT - TOP - BOTTOM);
const path = (points) => points.map(([hour, level]) => `${x(hour).toFixed(1)},${y(level).toFixed(1)}`).join(' ');

// Levels at +6, +24 and +48 h: `[hour, p10, p50, p90]`, only those that are known.
export function horizons(forecast) {
  return [6, 24, 48]
    .map((hour) => [hour, ...['p10', 'p50', 'p90'].map((quantile) => forecast?.[`level_${hour}h_${quantile}`])])
    .filter((row) => row.every((value) => Number.isFinite(value)));
}

export function levelChart(bin, forecast, nowMs) {
  const rows = horizons(forecast);
  const level = bin.filling_level;
  const colour = colourOf(bin.kind.id === 'unknown' ? 'silent' : bin.kind.id);
  const spoken = rows.map(([hour, low, middle, high]) => `in ${hour} hours ${percent(middle)}, between ${percent(low)} and ${percent(high)}`).join('; ');
  const picture = svg('svg', { class: 'chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': `Level ${percent(level)} now; ${spoken || 'no forecast'}` });
  for (const mark of [0, 0.5, 1]) {
    picture.append(
      svg('line', { class: mark === 1 ? 'full-line' : 'grid-line', x1: LEFT, x2: WIDTH - RIGHT, y1: y(mark), y2: y(mark) }),
      svg('text', { class: 'axis', x: LEFT - 6, y: y(mark) + 3.5, 'text-anchor': 'end', text: `${mark * 100}%` }),
    );
  }
  for (const hour of [0, 6, 24, 48]) {
    picture.append(
      svg('line', { class: 'tick', x1: x(hour), x2: x(hour), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }),
      svg('text', { class: 'axis', x: x(hour), y: HEIGHT - 7, 'text-anchor': hour === 48 ? 'end' : 'middle', text: hour ? `+${hour} h` : 'now' }),
    );
  }
  if (rows.length && Number.isFinite(level)) {
    const upper = [[0, level], ...rows.map(([hour, , , high]) => [hour, high])];
    const lower = [[0, level], ...rows.map(([hour, low]) => [hour, low])];
    const middle = [[0, level], ...rows.map(([hour, , median]) => [hour, median])];
    picture.append(
      svg('polygon', { points: path([...upper, ...lower.reverse()]), fill: colour, opacity: 0.22 }),
      svg('polyline', { points: path(middle), fill: 'none', stroke: '#1b2229', 'stroke-width': 1.8, 'stroke-linejoin': 'round' }),
    );
    for (const [hour, low, median, high] of rows) {
      picture.append(
        svg('line', { class: 'whisker', x1: x(hour), x2: x(hour), y1: y(low), y2: y(high) }),
        svg('circle', { cx: x(hour), cy: y(median), r: 3.2, fill: '#1b2229' }),
      );
    }
  }
  const visitHours = (bin.next_visit_ms - nowMs) / 3_600_000;
  if (bin.next_visit_ms && visitHours > 0 && visitHours <= HOURS) {
    const late = visitHours > HOURS - 8;
    picture.append(
      svg('line', { class: 'visit-line', x1: x(visitHours), x2: x(visitHours), y1: TOP, y2: HEIGHT - BOTTOM }),
      svg('text', { class: 'visit', x: x(visitHours) + (late ? -4 : 4), y: HEIGHT - BOTTOM - 5, 'text-anchor': late ? 'end' : 'start', text: 'next visit' }),
    );
  }
  if (Number.isFinite(level)) picture.append(svg('circle', { cx: x(0), cy: y(level), r: 4.4, fill: colour, stroke: '#1b2229', 'stroke-width': 1.4 }));
  return picture;
}

// A container with its level.
export function gauge(bin) {
  const level = Math.min(1, Math.max(0, bin.filling_level ?? 0));
  const top = 18 + (1 - level) * 50;
  // The walls lean: the content's upper edge follows them.
  const inset = ((top - 18) / 50) * 4;
  const picture = svg('svg', { class: 'gauge', viewBox: '0 0 56 76', role: 'img', 'aria-label': `${percent(bin.filling_level)} full` });
  picture.append(
    svg('path', { d: 'M8 18h40l-4 50a3 3 0 0 1-3 2.700H15a3 3 0 0 1-3-2.700z', fill: '#eef0ec' }),
    svg('path', { d: `M${8 + inset} ${top}H${48 - inset}L44 68a3 3 0 0 1-3 2.700H15a3 3 0 0 1-3-2.700z`, fill: colourOf(bin.kind.id === 'unknown' ? 'silent' : bin.kind.id) }),
    svg('path', { d: 'M8 18h40l-4 50a3 3 0 0 1-3 2.700H15a3 3 0 0 1-3-2.700z', fill: 'none', stroke: '#36424d', 'stroke-width': 2, 'stroke-linejoin': 'round' }),
    svg('path', { d: 'M4 12.500h48M22 7.500h12', stroke: '#36424d', 'stroke-width': 3, 'stroke-linecap': 'round' }),
  );
  return picture;
}

// The last values of a number, as a line; the scale starts at zero.
export function spark(target, values) {
  const known = values.filter(Number.isFinite);
  if (known.length < 2) return target.replaceChildren();
  const most = Math.max(...known, 1e-9);
  const points = known.map((value, index) => `${((index / (known.length - 1)) * 90).toFixed(1)},${(22 - (value / most) * 20).toFixed(1)}`).join(' ');
  return target.replaceChildren(svg('polygon', { class: 'spark-fill', points: `0,24 ${points} 90,24` }), svg('polyline', { class: 'spark-line', points }));
}
