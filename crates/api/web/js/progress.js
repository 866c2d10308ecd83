// Planned against driven, in words: what crews have done so far, stop by stop, and kilometres and hours against what was planned
// when they set out. Stops are counted as crews report them; kilometres and hours stand in the plan, as of when it was made.

import { element } from './format.js';
import { sitesOf } from './plans.js';

const km = (metres) => (metres / 1000).toFixed(1);

export function hoursAndMinutes(seconds) {
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')}`;
}

export const isServed = (stop) => ['served', 'partial'].includes(stop.visit?.outcome);

// Of a route, or of several together. `over`: the day is, what was not served will not be.
export function progressOf(routes, over) {
  const total = { routes: routes.length, out: 0, sites: 0, served: 0, missed: 0, left: 0, told: false, planned: 0, late: 0, extra: 0, notDone: 0, plannedM: 0, drivenM: 0, plannedS: 0, drivenS: 0 };
  for (const route of routes) {
    const soFar = route.so_far ?? { sites: sitesOf(route).length, served: 0, not_served: 0 };
    const { driven } = route;
    total.out += driven || soFar.served + soFar.not_served > 0 ? 1 : 0;
    total.sites += soFar.sites;
    total.served += soFar.served;
    total.missed += soFar.not_served;
    if (!driven) continue;
    total.told = true;
    for (const [mine, theirs] of [['planned', 'stops_planned'], ['late', 'stops_late'], ['extra', 'stops_extra'], ['notDone', 'stops_not_done'], ['plannedM', 'planned_m'], ['drivenM', 'driven_m'], ['plannedS', 'planned_s'], ['drivenS', 'driven_s']]) total[mine] += driven[theirs];
  }
  // A day that is over tells its routes as driven: what was planned and not served is no stop of theirs any more.
  if (over) Object.assign(total, { missed: total.notDone, sites: total.served + total.notDone });
  total.left = Math.max(0, total.sites - total.served - total.missed);
  return total;
}

// The stops: "14 of 73 done · 1 missed · 58 to go".
export function stopsText(progress) {
  const parts = [`${progress.served} of ${progress.sites} done`];
  if (progress.missed) parts.push(`${progress.missed} missed`);
  if (progress.left) parts.push(`${progress.left} to go`);
  return parts.join(' · ');
}

// Against what the truck set out with: hours, stops that were late, stops that nobody had planned.
export function againstText(progress) {
  if (!progress.told) return '';
  const unplanned = !progress.planned && !progress.plannedM;
  const parts = [unplanned ? `${hoursAndMinutes(progress.drivenS)} out, set out without a plan` : `${hoursAndMinutes(progress.drivenS)} of ${hoursAndMinutes(progress.plannedS)}`];
  if (progress.late) parts.push(`${progress.late} late`);
  if (progress.extra && !unplanned) parts.push(`${progress.extra} extra`);
  return parts.join(' · ');
}

// Kilometres driven, and those planned.
export const kmDriven = (progress) => `${km(progress.drivenM)} km`;
export const kmPlanned = (progress) => (progress.plannedM ? `of ${km(progress.plannedM)} km` : 'none planned');

export function progressBar(progress) {
  const bar = element('span', { class: 'bar progress', 'aria-hidden': 'true' });
  if (!progress.sites) return bar;
  for (const [kind, value] of [['served', progress.served], ['missed', progress.missed]]) {
    const part = element('span', { class: `fill ${kind}` });
    part.style.width = `${(value / progress.sites) * 100}%`;
    bar.append(part);
  }
  return bar;
}
