// The plans of the planning areas: which area and which of its plans is looked at, and decisions about it. Drawn by the routes
// panel and the map's layer of routes.

import { getJson, postJson, query } from './api.js';
import { emit, on, store } from './store.js';

const ACTOR_KEY = 'wastestream.actor';
const COLOURS = ['#1f5c99', '#c4541a', '#23795a', '#8a4f9e', '#8d7000', '#b03060', '#2f7f93', '#5d6427', '#5a4fcf', '#7a4a2b'];

export const plans = {
  // In short: id, tenant, in_force, proposal.
  areas: [],
  // `tenant/id` of the area looked at.
  chosen: null,
  // Its plans in full: in_force, proposal, completed, changes, problems.
  area: null,
  // Which of them: in_force, proposal or completed.
  which: 'in_force',
  // The vehicle whose route is opened.
  vehicle: null,
  problem: null,
};

export const keyOfArea = (row) => `${row.tenant}/${row.id}`;
export const shownPlan = () => plans.area?.[plans.which] ?? null;
export const sitesOf = (route) => route.stops.filter((stop) => stop.kind === 'site');

// A vehicle keeps its colour in all plans of an area.
export function colourOfVehicle(vehicle) {
  const known = new Set();
  for (const name of ['in_force', 'proposal', 'completed']) for (const route of plans.area?.[name]?.routes ?? []) known.add(route.vehicle_id);
  const at = [...known].sort().indexOf(vehicle);
  return COLOURS[Math.max(0, at) % COLOURS.length];
}

// Of a truck in the plan that is shown, or none.
export function colourOfTruck(truck) {
  const routed = plans.area?.tenant === truck.tenant && shownPlan()?.routes.some((route) => route.vehicle_id === truck.id);
  return routed ? colourOfVehicle(truck.id) : null;
}

let places = null;
on('loaded', () => {
  places = null;
});

// Where a stop is; lunch is nowhere.
export function placeOf(tenant, { site_id: site, facility_id: facility }) {
  if (!places) places = new Map(store.places.map((row) => [`${row.kind === 'site' ? 'site' : 'facility'}/${row.tenant}/${row.id}`, row]));
  return site ? places.get(`site/${tenant}/${site}`) : facility ? places.get(`facility/${tenant}/${facility}`) : undefined;
}

export const nameOf = (tenant, stop) => (stop.kind === 'lunch' ? 'Break' : (placeOf(tenant, stop)?.name ?? stop.site_id ?? stop.facility_id ?? stop.kind));

const pathOf = (row) => query(`/v1/plans/${encodeURIComponent(row.id)}`, { tenant: row.tenant });
export const chosenRow = () => plans.areas.find((row) => keyOfArea(row) === plans.chosen) ?? null;

let asked = 0;

export async function readPlans() {
  asked += 1;
  const mine = asked;
  try {
    const list = await getJson('/v1/plans?limit=2000');
    plans.areas = list.plans;
    if (!chosenRow()) {
      // One that waits for a decision first.
      const first = plans.areas.find((row) => row.proposal) ?? plans.areas[0];
      plans.chosen = first ? keyOfArea(first) : null;
    }
    const row = chosenRow();
    const area = row ? await getJson(pathOf(row)) : null;
    if (mine !== asked) return;
    plans.area = area && { ...area, id: row.id, tenant: row.tenant };
    if (!shownPlan()) plans.which = ['in_force', 'proposal', 'completed'].find((name) => area?.[name]) ?? 'in_force';
    plans.problem = null;
  } catch (error) {
    if (mine !== asked) return;
    plans.problem = error.message;
  }
  emit('plans');
}

export function chooseArea(key) {
  plans.chosen = key;
  plans.area = null;
  plans.vehicle = null;
  plans.which = 'in_force';
  return readPlans();
}

export function choosePlan(which) {
  plans.which = which;
  emit('plans');
}

export function openVehicle(vehicle) {
  plans.vehicle = vehicle;
  emit('route');
}

export const actor = () => localStorage.getItem(ACTOR_KEY) ?? 'dispatcher';
export const setActor = (name) => localStorage.setItem(ACTOR_KEY, name);

// Posts a decision about exactly the plan that the person saw; whoever comes too late is refused with 409.
export async function decide(plan, decision) {
  const row = chosenRow();
  const path = query(`/v1/plans/${encodeURIComponent(row.id)}/${encodeURIComponent(plan.plan_id)}/${plan.plan_version}/decisions`, { tenant: row.tenant });
  return postJson(path, { ...decision, actor_id: actor() });
}
