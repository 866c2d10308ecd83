// The stops of a planned route: when, where, why, and the buttons to lock, unlock, move or leave one out.

import { chance, count, element, UNKNOWN, words } from './format.js';
import { take } from './decide.js';
import { nameOf, plans, shownPlan } from './plans.js';
import { isServed } from './progress.js';
import { why } from './proposal.js';
import { store } from './store.js';

const formats = new Map();
// So many stops behind fold away.
const FOLD_FROM = 4;

// Times of day where the trucks drive.
export function timeIn(zone, ms) {
  if (!Number.isFinite(ms)) return UNKNOWN;
  if (!formats.has(zone)) {
    const options = { hour: '2-digit', minute: '2-digit' };
    try {
      formats.set(zone, new Intl.DateTimeFormat('en-GB', { ...options, timeZone: zone }));
    } catch {
      formats.set(zone, new Intl.DateTimeFormat('en-GB', { ...options, timeZone: 'UTC', timeZoneName: 'short' }));
    }
  }
  return formats.get(zone).format(ms);
}

const button = (text, label, onClick) => {
  const made = element('button', { type: 'button', class: 'small', text, 'aria-label': label, 'data-key': label });
  made.addEventListener('click', onClick);
  return made;
};

// What became of a stop, in words: "done 07:04", "not emptied: blocked".
function became(stop, route, zone) {
  if (!stop.visit) return '';
  const by = stop.visit.vehicle_id === route.vehicle_id ? '' : ` by ${stop.visit.vehicle_id}`;
  if (isServed(stop)) return `done${by} ${timeIn(zone, stop.visit.at)}`;
  return `${timeIn(zone, stop.visit.at)} not emptied${stop.visit.reason ? `: ${words(stop.visit.reason)}` : ''}`;
}

export function stopRows(area, route) {
  const last = route.stops.findLastIndex(isServed);
  const rows = route.stops.map((stop, index) => stopRow(area, route, stop, index));
  // What is done folds away while something is ahead: the dispatcher looks ahead.
  const ahead = route.stops.slice(last + 1).some((stop) => stop.kind === 'site');
  if (last < FOLD_FROM || !ahead) return element('ol', { class: 'stops', start: 0 }, ...rows);
  const done = route.stops.slice(0, last + 1).filter((stop) => stop.kind === 'site');
  const missed = done.filter((stop) => !isServed(stop)).length;
  const text = `${done.length - missed} stops done${missed ? `, ${missed} passed by` : ''}, the last ${timeIn(shownPlan().time_zone, route.stops[last].visit.at)}`;
  return element('div', {}, element('details', { class: 'done-stops', 'data-key': `done-${route.vehicle_id}` }, element('summary', { text }), element('ol', { class: 'stops', start: 0 }, ...rows.slice(0, last + 1))), element('ol', { class: 'stops', start: last + 1 }, ...rows.slice(last + 1)));
}

function stopRow(area, route, stop, index) {
  const plan = shownPlan();
  const fixed = plans.which === 'completed';
  const truck = store.trucks.get(`${area.tenant}/${route.vehicle_id}`);
  const name = nameOf(area.tenant, stop);
  const site = stop.kind === 'site';
  const served = isServed(stop);
  const next = site && !served && !fixed && truck?.next_stop_site_id === stop.site_id;
  const notes = [
    became(stop, route, plan.time_zone),
    site && !served ? why(stop.reason) : { disposal: 'empties', depot: index ? 'ends' : 'starts', lunch: '' }[stop.kind],
    site && stop.container_ids?.length ? `${stop.container_ids.length} ${stop.container_ids.length === 1 ? 'bin' : 'bins'}` : '',
    Number.isFinite(stop.load_kg) && stop.load_kg > 0 ? `load\u00a0${count(stop.load_kg)}\u00a0kg` : '',
  ];
  const tag = (kind, text) => element('span', { class: 'tag', 'data-kind': kind, text });
  const row = element(
    'li',
    { class: `stop ${stop.kind}${served ? ' served' : ''}`, 'data-site': stop.site_id },
    element('span', { class: 'when', text: timeIn(plan.time_zone, stop.arrives_at), title: 'Planned arrival' }),
    element('span', { class: 'order', text: served ? '✓' : String(index) }),
    element(
      'span',
      { class: 'row-text' },
      element('span', { class: 'row-title', title: stop.site_id ?? stop.facility_id }, element('span', { class: 'name', text: name }), next ? tag('low', 'next') : '', stop.visit && !served ? tag('high', 'missed') : '', stop.locked ? tag('holdout', 'locked') : ''),
      element('span', { class: 'row-note', text: notes.filter(Boolean).join(' · ') }),
    ),
  );
  if (site && !fixed && !served) {
    const change = stop.locked ? 'unlock' : 'lock';
    row.append(
      element(
        'span',
        { class: 'stop-buttons' },
        button(stop.locked ? 'Unlock' : 'Lock', `${stop.locked ? 'Unlock' : 'Lock'} ${name}`, () => take(plan, { decision: change, site_id: stop.site_id, ...(stop.locked ? {} : { vehicle_id: route.vehicle_id }) })),
        button('Move', `Move ${name}`, () => moveForm(row, area, { site: stop.site_id, name, vehicle: route.vehicle_id })),
      ),
    );
  }
  return row;
}

// Sites left out, with the reason that the checker confirmed.
export function skippedRows(area, plan) {
  if (!plan.skipped?.length) return '';
  const fixed = plans.which === 'completed';
  const rows = plan.skipped.map((left) => {
    const name = nameOf(area.tenant, { site_id: left.site_id });
    const risk = Number.isFinite(left.p_overflow) ? `overflow before the next chance ${chance(left.p_overflow)}` : '';
    const row = element('li', { class: 'stop' }, element('span', { class: 'row-text' }, element('span', { class: 'row-title', text: name, title: left.site_id }), element('span', { class: 'row-note', text: [why(left.reason), risk].filter(Boolean).join(' · ') })));
    if (!fixed && plan.routes.length) row.append(element('span', { class: 'stop-buttons' }, button('Serve', `Serve ${name}`, () => moveForm(row, area, { site: left.site_id, name, vehicle: plan.routes[0].vehicle_id }))));
    return row;
  });
  return element('details', { class: 'left-out', 'data-key': 'left-out' }, element('summary', { text: `${plan.skipped.length} ${plan.skipped.length === 1 ? 'site' : 'sites'} left out, and why` }), element('ul', { class: 'stops' }, ...rows));
}

export const formOpen = () => document.querySelector('#panel-routes form.move') !== null;

// Where a stop shall be: a truck, and the stop it comes after; or wherever the planner finds best.
function moveForm(row, area, { site, name, vehicle }) {
  document.querySelector('#panel-routes form.move')?.remove();
  const plan = shownPlan();
  const trucks = element('select', { 'aria-label': `Truck for ${name}` }, ...plan.routes.map((route) => element('option', { value: route.vehicle_id, text: route.vehicle_id, selected: route.vehicle_id === vehicle })));
  const after = element('select', { 'aria-label': `Place of ${name} in the route` });
  const fill = () => {
    const route = plan.routes.find((entry) => entry.vehicle_id === trucks.value);
    const last = route.stops.length - 1;
    // Nothing goes in between what is done.
    const done = Math.max(0, route.stops.findLastIndex(isServed));
    const places = route.stops
      .map((stop, index) => ({ stop, index }))
      // Nothing comes after the end.
      .filter(({ stop, index }) => index >= done && stop.site_id !== site && !(stop.kind === 'depot' && index === last && index > 0));
    after.replaceChildren(element('option', { value: '', text: 'where it is best' }), ...places.map(({ stop, index }) => element('option', { value: String(index + 1), text: `after ${index} ${nameOf(area.tenant, stop)}` })));
  };
  fill();
  trucks.addEventListener('change', fill);
  const ok = element('button', { type: 'submit', class: 'primary small', text: 'Move' });
  const cancel = element('button', { type: 'button', class: 'small', text: 'Cancel' });
  const drop = element('button', { type: 'button', class: 'small', text: 'Leave out' });
  const planned = plan.routes.some((route) => route.stops.some((stop) => stop.site_id === site));
  const form = element('form', { class: 'move' }, element('label', {}, 'Truck ', trucks), element('label', {}, 'Place ', after), element('span', { class: 'buttons' }, ok, planned ? drop : '', cancel));
  const opener = document.activeElement;
  const close = () => {
    form.remove();
    opener?.focus();
  };
  cancel.addEventListener('click', close);
  form.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    event.stopPropagation();
    close();
  });
  drop.addEventListener('click', () => {
    close();
    take(plan, { decision: 'cancel', site_id: site });
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    close();
    take(plan, { decision: 'edit', site_id: site, vehicle_id: trucks.value, ...(after.value === '' ? {} : { position: Number(after.value) }) });
  });
  row.append(form);
  trucks.focus();
}
