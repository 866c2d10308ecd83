// A proposed plan beside the one in force: what it changes, why, what that costs, and the buttons to accept or reject it.

import { ago, chance, element, money, signed, words } from './format.js';
import { take } from './decide.js';
import { nameOf, plans } from './plans.js';
import { store } from './store.js';

// Codes of route.change and route.plan in words.
export const WHY = {
  overflow_risk: 'likely to overflow',
  ticket: 'a ticket asks for it',
  closure: 'a road is closed',
  vehicle_down: 'a truck is out',
  facility_full: 'a facility is full or closed',
  shift_changed: 'a shift changed',
  decision: 'a person decided so',
  improved: 'the plan gets better',
  scheduled: 'scheduled',
  nearby: 'on the way',
  skill: 'no truck may serve it',
  closed_road: 'its road is closed',
  capacity: 'no truck has room for it',
  time_window: 'outside its hours',
  shift_end: 'shifts end before',
  not_needed: 'costs more than it is worth',
};
export const why = (code) => (code ? WHY[code] ?? words(code) : '');

const GROUPS = [
  ['stop_added', 'added', '+'],
  ['stop_removed', 'dropped', '−'],
  ['vehicle_changed', 'to another truck', '⇄'],
  ['stop_moved', 'in another place', '↕'],
  ['route_added', 'trucks more', '+'],
  ['route_removed', 'trucks less', '−'],
  ['retimed', 'at another time', '◷'],
];
const OPEN_UP_TO = 12;
const open = new Set(['stop_added', 'stop_removed', 'vehicle_changed', 'stop_moved', 'route_added', 'route_removed']);

function describe(change, skipped) {
  const place = Number.isFinite(change.position) ? `, stop ${change.position}` : '';
  switch (change.change) {
    case 'stop_added':
      return `${change.vehicle_id}${place}`;
    case 'stop_removed': {
      const left = skipped.get(change.site_id);
      const risk = Number.isFinite(left?.p_overflow) ? `, overflow ${chance(left.p_overflow)}` : '';
      return [`from ${change.previous_vehicle_id ?? 'its truck'}`, left && `${why(left.reason)}${risk}`].filter(Boolean).join(' · ');
    }
    case 'vehicle_changed':
      return `${change.previous_vehicle_id} → ${change.vehicle_id}${place}`;
    case 'stop_moved':
      return `${change.vehicle_id}: stop ${change.previous_position} → ${change.position}`;
    default:
      return change.vehicle_id ?? change.previous_vehicle_id ?? '';
  }
}

// What the changes mean for the map: site to kind of change.
export function marks() {
  const found = new Map();
  const newest = plans.area?.proposal;
  if (!newest) return found;
  const kinds = { stop_added: 'added', stop_removed: 'dropped', vehicle_changed: 'moved', stop_moved: 'moved' };
  for (const change of plans.area.changes) if (change.site_id && kinds[change.change]) found.set(change.site_id, kinds[change.change]);
  return found;
}

function groups(area) {
  const skipped = new Map((area.proposal.skipped ?? []).map((row) => [row.site_id, row]));
  return GROUPS.flatMap(([code, label, sign]) => {
    const rows = area.changes.filter((change) => change.change === code);
    if (!rows.length) return [];
    const list = element(
      'ul',
      {},
      ...rows.map((change) => {
        const name = change.site_id ? nameOf(area.tenant, { site_id: change.site_id }) : (change.vehicle_id ?? change.previous_vehicle_id);
        return element('li', {}, element('b', { text: name, title: change.site_id }), element('span', { text: describe(change, skipped) }), element('span', { class: 'why', text: why(change.reason), title: change.cause_event_id }));
      }),
    );
    const box = element('details', { class: `change ${code}`, open: open.has(code) && rows.length <= OPEN_UP_TO }, element('summary', {}, element('span', { class: 'sign', 'aria-hidden': 'true', text: sign }), `${rows.length} ${label}`), list);
    return [box];
  });
}

function deltas({ proposal, in_force: before }) {
  const of = (name, value, title, good) => element('span', { class: 'delta', title, 'data-level': Math.abs(value) < 1e-9 || !Number.isFinite(value) ? null : value < 0 === good ? 'good' : 'warn' }, element('b', { text: name }));
  if (!before) return element('p', { class: 'deltas' }, element('b', { text: `${(proposal.distance_m / 1000).toFixed(1)} km, ${Math.round(proposal.duration_s / 60)} min` }), ' · nothing is in force to compare with');
  const metres = proposal.distance_m - before.distance_m;
  const seconds = proposal.duration_s - before.duration_s;
  const minor = Number.isFinite(proposal.cost_minor) && Number.isFinite(before.cost_minor) ? proposal.cost_minor - before.cost_minor : null;
  const parts = [of(signed(metres / 1000, 1, 'km'), metres, 'Distance against the plan in force', true), of(signed(seconds / 60, 0, 'min'), seconds, 'Paid time against the plan in force', true)];
  if (minor) parts.push(of(`${minor > 0 ? '+' : '−'}${money(Math.abs(minor), proposal.currency)}`, minor, 'Cost against the plan in force', true));
  return element('p', { class: 'deltas' }, ...parts);
}

// Buttons do nothing for a moment after another version took a place: a click is about what the person has seen.
const UNSEEN_MS = 900;
let seen = { of: '', since: 0 };

export function proposalBox(area) {
  const { proposal, in_force: before } = area;
  const of = `${area.tenant}/${area.id}/${proposal.plan_id}/${proposal.plan_version}`;
  if (seen.of !== of) seen = { of, since: performance.now() };
  const accept = element('button', { type: 'button', class: 'primary', id: 'accept', text: `Accept version ${proposal.plan_version}` });
  const reject = element('button', { type: 'button', id: 'reject', text: 'Reject' });
  const note = element('input', { type: 'text', id: 'decision-note', maxlength: 1000, placeholder: 'Why (optional)', 'aria-label': 'Why, in words (optional)', autocomplete: 'off' });
  const unseenMs = seen.since + UNSEEN_MS - performance.now();
  for (const button of [accept, reject]) button.disabled = unseenMs > 0;
  if (unseenMs > 0) setTimeout(() => [accept, reject].forEach((button) => button.removeAttribute('disabled')), unseenMs);
  const send = (decision) => take(proposal, { decision, ...(note.value.trim() ? { note: note.value.trim(), reason: 'other' } : {}) });
  accept.addEventListener('click', () => send('accept'));
  reject.addEventListener('click', () => send('reject'));
  const counts = area.changes.length ? '' : element('p', { class: 'muted', text: 'No stop changes.' });
  return element(
    'section',
    { class: 'proposal', 'aria-label': `Proposed version ${proposal.plan_version}` },
    element('h3', {}, `Proposed: version ${proposal.plan_version}`, ' ', element('span', { class: 'muted', text: `${before ? `against version ${before.plan_version} in force · ` : ''}${ago(proposal.observed_at, store.eventNowMs)}` })),
    deltas(area),
    ...groups(area),
    counts,
    element('div', { class: 'decide' }, note, element('div', { class: 'buttons' }, accept, reject)),
  );
}
