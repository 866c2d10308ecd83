// The routes panel: an area's plans, the routes of one of them with planned against driven, and what is proposed.

import { query } from './api.js';
import { take, tell } from './decide.js';
import { clock, count, element, money, setText, words } from './format.js';
import { show } from './map.js';
import { actor, chooseArea, choosePlan, colourOfVehicle, keyOfArea, openVehicle, plans, readPlans, setActor, shownPlan, sitesOf } from './plans.js';
import { againstText, hoursAndMinutes, kmDriven, kmPlanned, progressBar, progressOf, stopsText } from './progress.js';
import { proposalBox } from './proposal.js';
import { formOpen, skippedRows, stopRows, timeIn } from './stops.js';
import { emit, on, store } from './store.js';
import { readWhileVisible, visible } from './tabs.js';

const EVERY_MS = 10_000;
const NAMES = { in_force: 'In force', proposal: 'Proposed', completed: 'Last day driven' };
const byId = (id) => document.getElementById(id);
const km = (metres) => `${(metres / 1000).toFixed(1)} km`;
let drawn = '';
// Nothing moves away under a pressed button.
let pressed = false;

export function createRoutes() {
  byId('plan').addEventListener('pointerdown', () => {
    pressed = true;
  });
  for (const end of ['pointerup', 'pointercancel']) {
    window.addEventListener(end, () => {
      if (!pressed) return;
      pressed = false;
      // Behind the click that follows.
      setTimeout(() => render(false));
    });
  }
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
  readWhileVisible('panel-routes', EVERY_MS, ['plan', 'change', 'problem', 'visit'], readPlans);
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
  if ((told === drawn || pressed) && !asked) return;
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
  setText('routes-note', plan ? `${plan.plan_id}, version ${plan.plan_version}, ${plan.state}${plan.rung && plan.rung !== 'model' ? ` (${plan.rung})` : ''} · times of ${plan.time_zone.split('/').pop().replaceAll('_', ' ')}` : '');
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
  // A proposal that is gone takes its note with it.
  if (note && byId('decision-note')) byId('decision-note').value = note;
  if (focus) (box.querySelector(`[data-key="${CSS.escape(focus)}"]`) ?? byId(focus) ?? byId('area')).focus({ preventScroll: true });
}

const over = () => plans.which === 'completed';

function summary(plan) {
  const sites = plan.routes.reduce((sum, route) => sum + sitesOf(route).length, 0);
  const parts = [`${plan.routes.length} ${plan.routes.length === 1 ? 'truck' : 'trucks'}`, `${count(sites)} stops`, km(plan.distance_m), `${hoursAndMinutes(plan.duration_s)} paid`];
  if (Number.isFinite(plan.cost_minor) && plan.currency) parts.push(money(plan.cost_minor, plan.currency));
  const box = element('div', { class: 'plan-figures' }, element('p', { text: parts.join(' · ') }));
  if (plans.which === 'proposal') return box;
  const out = plan.routes.filter((route) => progressOf([route], false).out);
  if (!out.length) box.append(element('p', { class: 'muted', text: over() ? 'No truck set out.' : 'No truck has set out yet.' }));
  else {
    const progress = progressOf(over() ? out : plan.routes, over());
    box.append(element('p', { id: 'plan-driven' }, element('b', { text: stopsText(progress) }), over() ? '' : ` · ${out.length} of ${plan.routes.length} trucks out`));
    // Of trucks that set out with something: only there is one to be compared with the other.
    const compared = out.filter(({ driven }) => driven?.planned_m || driven?.stops_planned);
    const without = out.filter((route) => route.driven && !compared.includes(route)).length;
    const { drivenM, plannedM } = progressOf(compared, false);
    const by = over() ? 'Driven' : `Driven by ${timeIn(plan.time_zone, plan.observed_at)}`;
    const parts = [compared.length ? `${by}: ${km(drivenM)} of ${km(plannedM)}, ${againstText(progressOf(compared, false))}` : '', without ? `${without} of them set out before there was a plan` : ''];
    if (compared.length || without) box.append(element('p', { class: 'muted', text: parts.filter(Boolean).join(' · '), title: 'Against what the trucks set out with, as of when this version was made' }));
  }
  return box;
}

function routeRow(area, plan, route) {
  const progress = progressOf([route], over());
  const swatch = element('span', { class: 'swatch route', 'aria-hidden': 'true' });
  swatch.style.background = colourOfVehicle(route.vehicle_id);
  const truck = store.trucks.get(`${area.tenant}/${route.vehicle_id}`);
  const status = !over() && truck?.status ? element('span', { class: 'tag', 'data-kind': truck.status === 'broken_down' ? 'high' : 'none', text: words(truck.status) }) : '';
  const out = progress.out > 0 && plans.which !== 'proposal';
  const open = plans.vehicle === route.vehicle_id;
  const notes = out ? [stopsText(progress), againstText(progress)] : [plans.which === 'proposal' ? `${progress.sites} stops` : `${progress.sites} stops, not set out yet`];
  const button = element(
    'button',
    { type: 'button', class: 'row route', 'aria-expanded': String(open), 'data-key': `route-${route.vehicle_id}` },
    swatch,
    element('span', { class: 'row-text' }, element('span', { class: 'row-title' }, element('span', { class: 'name', text: route.vehicle_id }), status), ...notes.filter(Boolean).map((text) => element('span', { class: 'row-note', text }))),
    element(
      'span',
      { class: 'row-right' },
      element('span', { class: 'row-value', text: out && progress.told ? kmDriven(progress) : km(route.distance_m) }),
      element('span', { class: 'row-note', text: out && progress.told ? kmPlanned(progress) : `planned ${timeIn(plan.time_zone, route.starts_at)} – ${timeIn(plan.time_zone, route.ends_at)}` }),
      out ? progressBar(progress) : '',
    ),
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
