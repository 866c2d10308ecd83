// Customers by the probability that they leave, parts of vehicles by the probability that they fail: why, and what to do.

import { getJson, query } from './api.js';
import { ago, chance, count, dayTime, element, money, number, setText, words } from './format.js';
import { List, opening, rowOf, span, twoLines } from './rows.js';
import { show } from './map.js';
import { reasonText } from './reasons.js';
import { readWhileVisible } from './tabs.js';
import { store } from './store.js';

const ROWS = 200;
const EVERY_MS = 15_000;
const ACTIONS = { call: 'Call them', discount: 'Offer a discount', service_check: 'Check their service', none: 'Leave it', inspect: 'Inspect', schedule: 'Schedule a repair', stop: 'Take it off the road' };
const KINDS = {
  customers: { path: '/v1/customers/churn-risk', counted: 'churn_risks', button: 'show-customers', list: 'customer-rows' },
  parts: { path: '/v1/vehicles/maintenance-risk', counted: 'maintenance_risks', button: 'show-parts', list: 'part-rows' },
};

let shownKind = 'customers';

const actionOf = (code) => (code ? ACTIONS[code] ?? words(code) : 'Nothing suggested');
const fact = (name, value, className) => element('div', {}, element('dt', { text: name }), element('dd', { text: value, class: className }));

// What the model saw, longest bar first; bars are relative to the strongest reason of this risk.
function reasons(drivers) {
  if (!drivers.length) return element('p', { class: 'muted', text: 'No reasons were told.' });
  const most = Math.max(...drivers.map((driver) => Math.abs(driver.contribution ?? 0)), 1e-9);
  return element(
    'ol',
    { class: 'reasons', 'aria-label': 'Reasons, the strongest first' },
    ...drivers.map((driver) => {
      const fill = span(driver.contribution < 0 ? 'fill lowers' : 'fill');
      fill.style.width = `${(Math.abs(driver.contribution ?? 0) / most) * 100}%`;
      const told = Number.isFinite(driver.contribution) ? `${driver.feature}: ${driver.contribution > 0 ? 'adds' : 'takes'} ${Math.abs(driver.contribution).toFixed(2)} log odds` : driver.feature;
      return element('li', { title: told }, element('span', { text: reasonText(driver) }), element('span', { class: 'bar', 'aria-hidden': 'true' }, fill));
    }),
  );
}

// The strongest, and the next one where both have room.
function inShort(drivers) {
  const [first, second] = drivers.map(reasonText);
  if (!first) return 'no reasons told';
  return second && first.length + second.length < 44 ? `${first} · ${second}` : first;
}

const lineage = (risk) => element('p', { class: 'lineage', title: risk.prediction_id, text: [`said ${ago(risk.observed_ms, store.eventNowMs)}`, risk.rung, risk.model_version].filter(Boolean).join(' · ') });

function customerMore(box, { risk }) {
  const holdout = risk.arm === 'holdout';
  box.replaceChildren(
    holdout ? element('p', { class: 'holdout-note', text: 'Held out at random: please do not treat. Only so can be measured what treatment brings.' }) : '',
    reasons(risk.drivers),
    element(
      'dl',
      { class: 'facts' },
      fact('Suggested', holdout ? 'nothing' : actionOf(risk.intervention)),
      fact('Brings, a year', holdout ? '–' : money(risk.expected_value_minor, risk.currency)),
      fact('At stake, a year', money(risk.value_minor, risk.currency)),
      fact('Leaves within', number(risk.horizon_days, 0, 'days')),
    ),
    lineage(risk),
  );
}

function partMore(box, { risk }) {
  const life = Number.isFinite(risk.remaining_life_h_p50) ? `${count(risk.remaining_life_h_p50)} h${Number.isFinite(risk.remaining_life_h_p10) && Number.isFinite(risk.remaining_life_h_p90) ? ` (${count(risk.remaining_life_h_p10)} – ${count(risk.remaining_life_h_p90)})` : ''}` : 'not known';
  const truck = [...store.trucks.values()].find((row) => row.tenant === risk.tenant && row.id === risk.vehicle_id);
  const find = element('button', { type: 'button', class: 'link', text: 'Show on the map' });
  find.addEventListener('click', () => show(truck));
  box.replaceChildren(
    reasons(risk.drivers),
    element(
      'dl',
      { class: 'facts' },
      fact('Suggested', risk.action ? actionOf(risk.action) : 'nothing'),
      fact('Due', dayTime(risk.due_ms)),
      fact('Engine hours left', life),
      fact('Fails within', number(risk.horizon_days, 0, 'days')),
    ),
    truck ? find : '',
    lineage(risk),
  );
}

function list(id, empty, more, describe) {
  return new List(
    id,
    empty,
    () => {
      const { text, title, note } = twoLines();
      const [value, fill, tag, todo] = [span('row-value'), span('fill'), span('tag'), span('row-note todo')];
      title.append(span('name'), tag);
      text.append(todo);
      const bar = element('span', { class: 'bar', 'aria-hidden': 'true' }, fill);
      const row = rowOf('risk-row', { text, right: element('span', { class: 'row-right' }, value, bar) }, () => {});
      return opening(Object.assign(row, { name: title.firstChild, note, value, fill, tag, todo }), more);
    },
    (row, item) => {
      const told = describe(item.risk);
      setText(row.name, told.name);
      setText(row.tag, told.tag);
      row.tag.dataset.kind = told.kind;
      row.tag.hidden = !told.tag;
      setText(row.note, inShort(item.risk.drivers));
      setText(row.todo, told.todo);
      setText(row.value, chance(item.risk.risk));
      row.fill.style.width = `${Math.min(100, (item.risk.risk ?? 0) * 100)}%`;
      row.fill.dataset.kind = told.kind;
      row.tell(item);
    },
  );
}

const BAND_OF_ACTION = { stop: 'high', schedule: 'medium', inspect: 'low' };

const lists = {
  customers: list('customer-rows', 'No customer has been scored yet.', customerMore, (risk) => {
    const holdout = risk.arm === 'holdout';
    const worth = Number.isFinite(risk.expected_value_minor) && risk.expected_value_minor > 0 ? ` · brings ${money(risk.expected_value_minor, risk.currency)} a year` : '';
    const todo = holdout ? 'In the holdout: not treated, to measure against' : `${actionOf(risk.intervention)}${risk.intervention && risk.intervention !== 'none' ? worth : ''}`;
    return { name: risk.id, tag: holdout ? 'holdout' : risk.band ?? '', kind: holdout ? 'holdout' : risk.band, todo };
  }),
  parts: list('part-rows', 'No part has been scored yet.', partMore, (risk) => {
    const due = risk.action && Number.isFinite(risk.due_ms) ? ` by ${dayTime(risk.due_ms)}` : '';
    return { name: `${risk.vehicle_id ?? risk.id} · ${words(risk.component)}`, tag: risk.action ? words(risk.action) : '', kind: BAND_OF_ACTION[risk.action] ?? 'none', todo: `${actionOf(risk.action)}${due}` };
  }),
};

async function read() {
  const kind = shownKind;
  try {
    const [body, pipeline] = await Promise.all([getJson(query(KINDS[kind].path, { limit: ROWS })), getJson('/v1/pipeline')]);
    const rows = body[kind];
    lists[kind].render(rows.map((risk) => ({ key: `${risk.tenant}/${risk.id}`, risk })));
    for (const { button, counted } of Object.values(KINDS)) setText(document.querySelector(`#${button} .badge`), count(pipeline.counts[counted]));
    setText('risk-note', note(kind, rows, pipeline.counts[KINDS[kind].counted]));
  } catch (error) {
    setText('risk-note', `Could not be read: ${error.message}`);
  }
}

function note(kind, rows, all) {
  if (!rows.length) return kind === 'customers' ? 'The topology churn has said nothing yet.' : 'The topology maintenance has said nothing yet.';
  const of = (wanted) => rows.filter(wanted).length;
  const parts = kind === 'customers'
    ? [`${of((risk) => risk.band === 'high')} high`, `${of((risk) => risk.band === 'medium')} medium`, `${of((risk) => risk.arm === 'holdout')} in the holdout`]
    : [`${of((risk) => risk.action === 'stop')} to stop`, `${of((risk) => risk.action === 'schedule')} to schedule`, `${of((risk) => risk.action === 'inspect')} to inspect`];
  return `${rows.length < all ? `The ${count(rows.length)} highest of ${count(all)}` : `All ${count(all)}`}: ${parts.join(', ')}`;
}

export function createRisks() {
  const now = readWhileVisible('panel-risks', EVERY_MS, ['churn_risk', 'maintenance_risk'], read);
  for (const [kind, { button }] of Object.entries(KINDS)) {
    document.getElementById(button).addEventListener('click', () => {
      shownKind = kind;
      for (const [other, entry] of Object.entries(KINDS)) {
        document.getElementById(entry.button).setAttribute('aria-pressed', other === kind);
        document.getElementById(entry.list).hidden = other !== kind;
      }
      now();
    });
  }
}
