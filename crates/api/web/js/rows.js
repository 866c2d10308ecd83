// Lists whose rows keep their elements between renderings: focus, hover and scrolling stay where they are. A list holds still
// while somebody points at it or has the focus in it.

import { element } from './format.js';

export class List {
  constructor(id, empty, make, update) {
    this.box = document.getElementById(id);
    this.empty = empty;
    this.make = make;
    this.update = update;
    this.rows = new Map();
  }

  get held() {
    return this.rows.size > 0 && (this.box.matches(':hover') || this.box.contains(document.activeElement));
  }

  render(items) {
    const wanted = this.held ? [...this.rows.keys()].map((key) => items.find((item) => item.key === key)).filter(Boolean) : items;
    const keys = new Set(wanted.map((item) => item.key));
    for (const [key, row] of this.rows) {
      if (!keys.has(key)) {
        row.root.remove();
        this.rows.delete(key);
      }
    }
    this.box.querySelector('.none')?.remove();
    let after = null;
    for (const item of wanted) {
      let row = this.rows.get(item.key);
      if (!row) {
        row = this.make(item);
        this.rows.set(item.key, row);
      }
      this.update(row, item);
      const expected = after ? after.nextSibling : this.box.firstChild;
      if (row.root !== expected) this.box.insertBefore(row.root, expected);
      after = row.root;
    }
    if (!wanted.length) this.box.append(element('li', { class: 'none', text: this.empty }));
  }
}

export function rowOf(className, parts, onClick) {
  const button = element('button', { type: 'button', class: `row ${className}` }, ...Object.values(parts));
  button.addEventListener('click', onClick);
  return { ...parts, button, root: element('li', {}, button) };
}

export const span = (className) => element('span', { class: className });

export function twoLines() {
  const [title, note] = [span('row-title'), span('row-note')];
  const text = element('span', { class: 'row-text' }, title, note);
  return { text, title, note };
}

// A row that opens: the box below it is filled by `fill(box, item)` while it is open.
export function opening(row, fill) {
  const more = element('div', { class: 'row-more', hidden: true });
  row.button.setAttribute('aria-expanded', 'false');
  row.root.append(more);
  row.button.addEventListener('click', () => {
    more.hidden = !more.hidden;
    row.button.setAttribute('aria-expanded', !more.hidden);
    if (!more.hidden) fill(more, row.item);
  });
  return Object.assign(row, {
    more,
    told: '',
    // Drawn anew only when something changed: a text being read or selected stays.
    tell(item) {
      row.item = item;
      const told = JSON.stringify(item);
      if (row.told !== told && !more.hidden) fill(more, item);
      row.told = told;
    },
  });
}
