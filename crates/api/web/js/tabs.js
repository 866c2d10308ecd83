// The tabs of the side panel, and reads that go on only while somebody looks at them.

import { emit, on } from './store.js';

const tabs = [...document.querySelectorAll('.tabs [role=tab]')];
const panelOf = (tab) => document.getElementById(tab.getAttribute('aria-controls'));

export const visible = (id) => !document.getElementById(id).hidden;

export function chooseTab(id) {
  const chosen = document.getElementById(id);
  for (const tab of tabs) {
    const active = tab === chosen;
    tab.setAttribute('aria-selected', active);
    tab.tabIndex = active ? 0 : -1;
    panelOf(tab).hidden = !active;
  }
  emit('tab', id);
}

export function createTabs() {
  tabs.forEach((tab, index) => {
    tab.addEventListener('click', () => chooseTab(tab.id));
    tab.addEventListener('keydown', (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: -1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const other = tabs.at(to % tabs.length);
      chooseTab(other.id);
      other.focus();
    });
  });
  const linked = `tab-${location.hash.slice(1)}`;
  if (tabs.some((tab) => tab.id === linked)) chooseTab(linked);
}

// Reads at once when the panel appears or the server tells of a change in one of `kinds`, and every `everyMs` beside that.
export function readWhileVisible(panel, everyMs, kinds, read) {
  let reading = false;
  let again = false;
  const now = async () => {
    if (!visible(panel) || document.hidden) return;
    if (reading) {
      again = true;
      return;
    }
    reading = true;
    again = false;
    await read();
    reading = false;
    if (again) setTimeout(now, 1_000);
  };
  on('tab', now);
  on('loaded', now);
  on('changed', ({ others }) => {
    if (kinds.some((kind) => others?.[kind])) now();
  });
  document.addEventListener('visibilitychange', now);
  setInterval(now, everyMs);
  return now;
}
