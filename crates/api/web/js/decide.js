// Taking decisions: one at a time, and what became of it said where the person looks.

import { element } from './format.js';
import { decide, plans, readPlans } from './plans.js';
import { on } from './store.js';

// Asked again after these, until the planner's answer is there; the event stream is usually faster.
const LOOK_AGAIN_MS = [1_500, 4_000, 9_000, 20_000];
const DONE = {
  accept: 'Accepted. It is in force as soon as the planner has taken it up.',
  reject: 'Rejected. What is in force stays.',
  lock: 'Locked. The planner keeps it there from its next version on.',
  unlock: 'Unlocked. The planner may move it again.',
  edit: 'Sent. The next version has it there, or says why not.',
  cancel: 'Sent. The next version leaves it out.',
};
const box = document.getElementById('decision-told');
let busy = false;
// Accepted here, and not in force yet.
let awaited = null;

export function tell(text, kind = 'good') {
  box.replaceChildren(element('span', { text }));
  box.dataset.kind = kind;
  box.hidden = !text;
}

export async function take(plan, decision) {
  if (busy) return false;
  busy = true;
  document.getElementById('panel-routes').dataset.busy = 'yes';
  try {
    await decide(plan, decision);
    tell(DONE[decision.decision] ?? 'Sent.');
    awaited = decision.decision === 'accept' ? plan : null;
    LOOK_AGAIN_MS.forEach((after) => setTimeout(readPlans, after));
    return true;
  } catch (error) {
    // Somebody or something was faster: what is current now is shown, and the decision is the person's again.
    if (error.status === 409) tell(`Not taken, the plan moved on: ${error.detail}. Shown is what is current now.`, 'bad');
    else tell(`Not taken: ${error.message}`, 'bad');
    return false;
  } finally {
    busy = false;
    delete document.getElementById('panel-routes').dataset.busy;
    await readPlans();
  }
}

on('plans', () => {
  const now = plans.area?.in_force;
  if (!awaited || !now || now.plan_id !== awaited.plan_id || now.plan_version < awaited.plan_version) return;
  tell(`Version ${now.plan_version} is in force.`);
  awaited = null;
});
