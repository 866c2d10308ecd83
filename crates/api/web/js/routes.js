// The routes panel: an area's plans, the routes of one of them with planned against driven, and what is proposed.

import { query } from './api.js';
import { take, tell } from './decide.js';
import { clock, count, element, money, setText } from './format.js';
import { show } from './map.js';
import { actor, chooseArea, choosePlan, colourOfVehicle, keyOfArea, openVehicle, plans, readPlans, setActor, shownPlan, sitesOf } from './plans.js';
import { proposalBox } from './proposal.js';
import { formOpen, skippedRows, stopRows, timeIn } from './stops.js';
import { emit, on, store } from './store.js';
import { readWhileVisible, visible } from './tabs.js';

const EVERY_MS = 10_000;
const NAMES = { in_force: 'In force', proposal: 'Proposed', completed: 'Last day driven' };
const byId = (id) => document.getElementById(id);
const km = (metres) => `${(metres / 1000).toFixed(1)} km`;
let drawn = '';

export function createRoutes() {
  byId('area').addEventListener('change', (event) => {
    drawn = '';
    tell('');
    chooseArea(event.target.value);
  });
  const name = byId('actor');
  name.value = actor();
  name.addEventListener('change', () => {
    setActor(name.value.trim() || 'dispatcher');
    name.value = actor();
  });
  byId('newer').addEventListener('click', () => render(true));
  const layer = byId('show-routes');
  layer.addEventListener('change', () => emit('route'));
  on('plans', () => render(false));
  on('tab', () => emit('route'));
  readWhileVisible('panel-routes', EVERY_MS, ['plan', 'change', 'problem'], readPlans);
  // That a proposal waits is told on the tab, whatever is looked at.
  const beside = () => visible('panel-routes') || readPlans();
  // Places have names now.
  on('loaded', () => render(false));
  on('loaded', beside);
  on('changed', ({ others }) => others?.plan && beside());
}

function areas() {
  const chooser = byId('area');
  const options = plans.areas.map((row) => [keyOfArea(row), `${row.id}${row.proposal ? ' (proposed)' : ''}`]);
  const told = JSON.stringify(options);
  if (chooser.dataset.told !== told) {
    chooser.dataset.told = told;
    chooser.replaceChildren(...options.map(([value, text]) => element('option', { value, text })));
  }
  chooser.value = plans.chosen ?? '';
  chooser.disabled = !options.length;
  const waiting = plans.areas.filter((row) => row.proposal).length;
  setText('plan-count', String(waiting));
  byId('plan-count').hidden = !waiting;
}

// A form being filled in is left alone: a newer version is announced, and shown when the person asks.
function render(asked) {
  areas();
  const { area, problem } = plans;
  if (problem || !area) {
    setText('routes-note', problem ? `Could not be read: ${problem}` : plans.areas.length ? 'Reading …' : 'No area has a plan yet. Plans come from the topology route.');
    if (!area) {
      byId('plan').replaceChildren();
      drawn = '';
      emit('route');
    }
    return;
  }
  const told = JSON.stringify([area.in_force, area.proposal, area.completed, area.changes, area.problems, plans.which, plans.chosen, store.places.length]);
  if (told === drawn && !asked) return;
  byId('newer').hidden = true;
  if (formOpen() && !asked) {
    byId('newer').hidden = false;
    return;
  }
  drawn = told;
  draw(area);
  emit('route');
}

function draw(area) {
  const plan = shownPlan();
  const box = byId('plan');
  const focus = box.contains(document.activeElement) ? (document.activeElement.dataset.key ?? document.activeElement.id) : null;
  const note = byId('decision-note')?.value;
  const opened = new Set([...box.querySelectorAll('details[open][data-key]')].map((details) => details.dataset.key));
  setText('routes-note', plan ? `${plan.plan_id}, version ${plan.plan_version}, ${plan.state}${plan.rung && plan.rung !== 'model' ? ` (${plan.rung})` : ''}` : '');
  const choices = Object.keys(NAMES).filter((name) => area[name]);
  const choice = element('div', { class: 'choice', role: 'group', 'aria-label': 'Which plan' });
  for (const name of choices) {
    const button = element('button', { type: 'button', text: `${NAMES[name]} v${area[name].plan_version}`, 'aria-pressed': String(name === plans.which), 'data-key': `which-${name}` });
    button.addEventListener('click', () => choosePlan(name));
    choice.append(button);
  }
  box.replaceChildren(
    area.proposal ? proposalBox(area) : '',
    element('div', { class: 'plan-head' }, choices.length > 1 ? choice : '', plan ? summary(plan) : ''),
    plan ? element('ol', { class: 'rows', id: 'route-rows' }, ...plan.routes.map((route) => routeRow(area, plan, route))) : '',
    plan ? skippedRows(area, plan) : '',
    problems(area),
  );
  for (const details of box.querySelectorAll('details[data-key]')) details.open = opened.has(details.dataset.key);
  if (note) byId('decision-note').value = note;
  if (focus) (box.querySelector(`[data-key="${CSS.escape(focus)}"]`) ?? byId(focus) ?? byId('area')).focus({ preventScroll: true });
}

function summary(plan) {
  const sites = plan.routes.reduce((sum, route) => sum + sitesOf(route).length, 0);
  const parts = [`${plan.routes.length} ${plan.routes.length === 1 ? 'truck' : 'trucks'}`, `${count(sites)} stops`, km(plan.distance_m), `${(plan.duration_s / 3600).toFixed(1)} h paid`];
  if (Number.isFinite(plan.cost_minor) && plan.currency) parts.push(money(plan.cost_minor, plan.currency));
  const all = plan.routes.map((route) => route.driven).filter(Boolean);
  const sum = (field) => all.reduce((total, driven) => total + driven[field], 0);
  return element(
    'div',
    { class: 'plan-figures' },
    element('p', { text: parts.join(' · ') }),
    all.length ? element('p', { id: 'plan-driven' }, element('b', { text: `${sum('stops_served')} of ${sum('stops_planned')} served` }), ` · ${sum('stops_late')} late · ${sum('stops_not_done')} not done · ${sum('stops_extra')} extra · ${km(sum('driven_m'))} of ${km(sum('planned_m'))} driven`) : element('p', { class: 'muted', text: 'No truck has set out yet.' }),
  );
}

function routeRow(area, plan, route) {
  const { driven } = route;
  const sites = sitesOf(route);
  const swatch = element('span', { class: 'swatch route', 'aria-hidden': 'true' });
  swatch.style.background = colourOfVehicle(route.vehicle_id);
  const bar = element('span', { class: 'bar progress', 'aria-hidden': 'true' });
  if (driven?.stops_planned) {
    const part = (kind, value) => {
      const made = element('span', { class: `fill ${kind}` });
      made.style.width = `${(value / driven.stops_planned) * 100}%`;
      return made;
    };
    bar.append(part('served', driven.stops_served - driven.stops_late), part('late', driven.stops_late));
  }
  const told = driven
    ? [`${driven.stops_served} of ${driven.stops_planned} served`, driven.stops_late ? `${driven.stops_late} late` : '', `${driven.stops_not_done} not done`, driven.stops_extra ? `${driven.stops_extra} extra` : ''].filter(Boolean).join(' · ')
    : `${sites.length} stops, not set out yet`;
  const open = plans.vehicle === route.vehicle_id;
  const button = element(
    'button',
    { type: 'button', class: 'row route', 'aria-expanded': String(open), 'data-key': `route-${route.vehicle_id}` },
    swatch,
    element('span', { class: 'row-text' }, element('span', { class: 'row-title', text: route.vehicle_id }), element('span', { class: 'row-note', text: told })),
    element('span', { class: 'row-right' }, element('span', { class: 'row-value', text: km(driven ? driven.driven_m : route.distance_m) }), element('span', { class: 'row-note', text: driven ? `of ${km(driven.planned_m)}` : `${timeIn(plan.time_zone, route.starts_at)} – ${timeIn(plan.time_zone, route.ends_at)}` }), bar),
  );
  const more = element('div', { class: 'row-more route-more', hidden: !open });
  const fill = () => more.replaceChildren(routeTools(area, plan, route), stopRows(area, route));
  if (open) fill();
  button.addEventListener('click', () => {
    const opening = more.hidden;
    for (const other of document.querySelectorAll('#route-rows .row[aria-expanded=true]')) {
      other.setAttribute('aria-expanded', 'false');
      other.nextElementSibling.hidden = true;
      other.nextElementSibling.replaceChildren();
    }
    if (opening) {
      fill();
      more.hidden = false;
      button.setAttribute('aria-expanded', 'true');
    }
    openVehicle(opening ? route.vehicle_id : null);
  });
  return element('li', { 'data-vehicle': route.vehicle_id }, button, more);
}

function routeTools(area, plan, route) {
  const tool = (text, key, onClick) => {
    const made = element('button', { type: 'button', class: 'small', text, 'data-key': key });
    made.addEventListener('click', onClick);
    return made;
  };
  const sites = sitesOf(route);
  const locked = sites.length > 0 && sites.every((stop) => stop.locked);
  const truck = store.trucks.get(`${area.tenant}/${route.vehicle_id}`);
  const link = (format, text) => element('a', { href: query(`/v1/vehicles/${encodeURIComponent(route.vehicle_id)}/manifest${format}`, { tenant: area.tenant }), text, ...(format ? { download: `${route.vehicle_id}${format}` } : { target: '_blank', rel: 'noopener' }) });
  return element(
    'div',
    { class: 'tools' },
    truck ? tool('Find truck', `find-${route.vehicle_id}`, () => show(truck)) : '',
    plans.which === 'completed' ? '' : tool(locked ? 'Unlock route' : 'Lock route', `lock-${route.vehicle_id}`, () => take(plan, { decision: locked ? 'unlock' : 'lock', vehicle_id: route.vehicle_id })),
    // The driver gets what is in force.
    plans.which === 'in_force' ? element('span', { class: 'manifest' }, 'Driver: ', link('.gpx', 'GPX'), ' · ', link('.geojson', 'GeoJSON'), ' · ', link('', 'JSON')) : '',
  );
}

// What kept something out of the plan, or a decision from being applied; the newest first.
function problems(area) {
  const plan = area.proposal ?? area.in_force;
  const mine = area.problems.filter((row) => !plan || row.plan_id === plan.plan_id).sort((a, b) => b.observed_at - a.observed_at);
  if (!mine.length) return '';
  return element(
    'details',
    { class: 'left-out', 'data-key': 'problems' },
    element('summary', { text: `${mine.length} ${mine.length === 1 ? 'thing' : 'things'} the planner wants known` }),
    element('ul', { class: 'stops' }, ...mine.slice(0, 100).map((row) => element('li', { class: 'stop', title: clock(row.observed_at) }, element('span', { class: 'row-text' }, element('span', { class: 'row-title', text: `${row.entity_kind} ${row.entity_id}` }), element('span', { class: 'row-note', text: row.detail }))))),
  );
}
