// Requests to our own server. A refusal becomes an Error whose message a person can act on.

export class Refused extends Error {
  constructor(status, problem) {
    super([problem.title, problem.detail].filter(Boolean).join(': ') + (problem.hint ? ` (${problem.hint})` : ''));
    this.status = status;
    this.code = problem.code;
    this.detail = problem.detail;
    this.hint = problem.hint;
  }
}

async function answered(response) {
  const body = await response.json().catch(() => ({ title: `Answer ${response.status} that is not JSON` }));
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

export const getJson = async (path) => answered(await fetch(path, { headers: { accept: 'application/json' } }));

// The header keeps other pages out: browsers send it across origins only after asking, and they are refused then.
export const postJson = async (path, body) =>
  answered(await fetch(path, { method: 'POST', headers: { accept: 'application/json', 'content-type': 'application/json', 'x-wastestream-admin': '1' }, body: JSON.stringify(body) }));

export const query = (path, parameters) => {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== '');
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
};
