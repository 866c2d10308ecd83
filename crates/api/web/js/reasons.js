// Reasons of a model in the words of whoever acts on them. A model tells a feature and its value; where its text says no more
// than that, the feature's name is put into words here, and the value keeps its digits.

import { words } from './format.js';

const NAMES = {
  missed: 'missed collections',
  missed_share: 'share of collections missed',
  visits: 'collections',
  tickets: 'tickets',
  complaints: 'complaints',
  contacts: 'contacts',
  sentiment: 'sentiment',
  late_days: 'days that payments were late',
  payment_failures: 'failed payments',
  reminders: 'payment reminders',
  fee_change: 'change of the fee',
  days_since_price_change: 'days since the price changed',
  days_to_term_end: 'days to the end of the contract',
  tenure_days: 'days as a customer',
  collections_per_week: 'collections a week',
  monthly_fee_minor: 'monthly fee, in cents',
  segment: 'kind of customer',
  codes: 'fault codes',
  samples: 'readings',
  engine_hours_h: 'engine hours',
  hours_since_repair: 'hours since the last repair',
  component: 'part',
  signal: 'main reading, mean',
  signal_slope: 'trend of the main reading',
  signal_scatter: 'scatter of the main reading',
  second: 'second reading, mean',
  second_slope: 'trend of the second reading',
};

// `missed_30d` is "missed collections in 30 days".
export function featureName(feature) {
  const [, stem, days] = /^(.*?)(?:_(\d+)d)?$/.exec(feature);
  const name = NAMES[stem] ?? words(stem);
  return days ? `${name} in ${days} ${days === '1' ? 'day' : 'days'}` : name;
}

export function reasonText(driver) {
  const bare = `${driver.feature.replaceAll('_', ' ')}: `;
  if (!driver.text) return featureName(driver.feature);
  return driver.text.startsWith(bare) ? `${featureName(driver.feature)}: ${driver.text.slice(bare.length)}` : driver.text;
}
