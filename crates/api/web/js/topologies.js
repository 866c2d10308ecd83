// The topologies that run here: which one the strip tells of, and one line for each.

import { count, duration, element, number, UNKNOWN } from './format.js';
import { emit } from './store.js';

const KEY = 'wastestream.topology';
const chooser = document.getElementById('topology');
let wanted = localStorage.getItem(KEY);
let last = null;

export function createTopologies() {
  chooser.addEventListener('change', () => choose(chooser.value));
}

function choose(name) {
  wanted = name;
  localStorage.setItem(KEY, name);
  if (last) emit('pipeline', last);
}

// All of them; an older server tells of one.
export const pipelinesOf = (told) => (told.pipelines?.length ? told.pipelines : [told.pipeline]);

// The one whose figures are shown.
export const chosen = (pipelines) => pipelines.find((pipeline) => pipeline.topology === wanted) ?? pipelines[0];

// Why a topology is not ready; reasons begin with its name.
export const reasonsOf = (name, readiness) => readiness.reasons.filter((reason) => reason.startsWith(`${name}: `)).map((reason) => reason.slice(name.length + 2));

export function lagText(pipeline) {
  if (Number.isFinite(pipeline.lag_ms)) return duration(pipeline.lag_ms);
  return Number.isFinite(pipeline.lag_rows) ? `${count(pipeline.lag_rows)} rows` : UNKNOWN;
}

export const lagLevel = (pipeline) => (pipeline.lag_ms > 60_000 ? 'bad' : pipeline.lag_ms > 10_000 ? 'warn' : '');

export function renderTopologies(told, pipelines, shown) {
  last = told;
  const names = pipelines.map((pipeline) => pipeline.topology);
  if ([...chooser.options].map((option) => option.value).join('\n') !== names.join('\n')) {
    chooser.replaceChildren(...names.map((name) => element('option', { value: name, text: name })));
  }
  chooser.value = shown.topology;
  chooser.hidden = !names.some(Boolean);
  const box = document.getElementById('topology-rows');
  if (document.getElementById('stages').hidden) return;
  // Buttons keep their elements: focus stays while figures change.
  const known = new Map([...box.children].map((row) => [row.dataset.topology, row]));
  const rows = pipelines.map((pipeline) => {
    const row = known.get(pipeline.topology) ?? lineOf(pipeline.topology);
    row.querySelector('button').setAttribute('aria-pressed', pipeline === shown);
    [...row.children].slice(1).forEach((cell) => cell.remove());
    row.append(...cells(pipeline, told.readiness));
    return row;
  });
  if (rows.length !== box.children.length || rows.some((row, index) => box.children[index] !== row)) box.replaceChildren(...rows);
}

function lineOf(name) {
  const button = element('button', { type: 'button', text: name });
  button.addEventListener('click', () => choose(name));
  return element('tr', { 'data-topology': name }, element('th', { scope: 'row' }, button));
}

function cells(pipeline, readiness) {
  const cell = (text, level = '', className = null) => element('td', { text, class: className, 'data-level': level || null });
  const reasons = reasonsOf(pipeline.topology, readiness);
  const answers = pipeline.rungs.reduce((sum, rung) => sum + rung.answers, 0);
  const best = pipeline.rungs.find((rung) => rung.rung === 'model')?.answers ?? 0;
  const outputs = pipeline.outputs ?? [];
  return [
    cell(count(pipeline.events_total)),
    cell(number(pipeline.events_per_s, pipeline.events_per_s < 10 ? 1 : 0, '').trim()),
    cell(lagText(pipeline), lagLevel(pipeline)),
    cell(duration(pipeline.lag_p99_ms)),
    cell(answers ? `${Math.round((best / answers) * 100)} %` : UNKNOWN),
    cell(count(pipeline.late_total), '', pipeline.late_total ? null : 'zero'),
    cell(count(pipeline.dead_total), pipeline.dead_total ? 'warn' : '', pipeline.dead_total ? null : 'zero'),
    cell(reasons.length ? reasons.join('; ') : 'ready', reasons.length ? 'bad' : 'good', 'word'),
    element('td', { class: 'outputs' }, ...(outputs.length ? outputs : [{ topic: 'none yet' }]).map(({ topic, rows }) => element('span', {}, topic, ' ', element('b', { text: rows === undefined ? '' : count(rows) })))),
  ];
}
