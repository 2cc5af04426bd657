// What differs from answer to answer, or names the machine: not compared.
const changing = new Set(['id', 'created', 'created_at', '_request_id', 'request_id', 'item_id', 'response_id', 'call_id', 'tool_call_id', 'toolCallId']);

// plain returns a value as JSON has it, with "…" for what differs from answer to answer.
export function plain(value) {
  return JSON.parse(JSON.stringify(value, (key, v) => (changing.has(key) && v != null ? '…' : v)));
}

// errorOf says of an error what programs look at.
export function errorOf(e) {
  const error = { name: e?.constructor?.name, message: e?.message };
  for (const key of ['status', 'statusCode', 'code', 'type', 'param', 'reason', 'isRetryable', 'lc_error_code']) {
    if (['string', 'number', 'boolean'].includes(typeof e?.[key])) error[key] = e[key];
  }
  for (const key of ['lastError', 'cause']) {
    if (e?.[key] instanceof Error) error[key] = errorOf(e[key]);
  }
  return error;
}

export const weather = {
  name: 'get_weather',
  description: 'the weather of a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
