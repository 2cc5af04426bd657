import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { ChatDeepSeek } from '@langchain/deepseek';
import { z } from 'zod';
import { plain, weather } from './result.mjs';

// Its own default is six retries, which take a minute.
const model = (o, more) => new ChatDeepSeek({
  apiKey: o.key, model: o.model, maxRetries: o.retries ?? 2, configuration: { baseURL: o.baseURL }, ...(o.timeout && { timeout: o.timeout }), ...more,
});
const tools = [{ type: 'function', function: weather }];
const withoutThinking = { modelKwargs: { thinking: { type: 'disabled' } } };

function message(o, m) {
  Object.assign(o.result, {
    content: m.content, reasoning: m.additional_kwargs.reasoning_content, finish: m.response_metadata.finish_reason,
    tools: m.tool_calls?.map((t) => ({ name: t.name, arguments: JSON.stringify(t.args) })), usage: m.usage_metadata,
    raw: plain({ additional: m.additional_kwargs, metadata: m.response_metadata }),
  });
}

async function stream(o, m) {
  const r = o.result;
  r.chunks = [];
  let all;
  try {
    for await (const chunk of await m.stream(o.prompt, { signal: o.signal })) {
      r.chunks.push(plain({ content: chunk.content, additional: chunk.additional_kwargs, tools: chunk.tool_call_chunks }));
      all = all ? all.concat(chunk) : chunk;
      if (chunk.content && ++r.pieces === o.abortAfter) o.abort();
    }
  } finally {
    if (all) message(o, all);
  }
}

export const actions = {
  json: async (o) => message(o, await model(o).invoke(o.prompt, { signal: o.signal })),
  stream: (o) => stream(o, model(o)),
  'json without thinking': async (o) => message(o, await model(o, withoutThinking).invoke(o.prompt)),
  'stream without thinking': (o) => stream(o, model(o, withoutThinking)),
  tools: async (o) => message(o, await model(o).bindTools(tools).invoke(o.prompt)),
  'tools in a stream': (o) => stream(o, model(o).bindTools(tools)),
  async 'result of a tool'(o) {
    const bound = model(o).bindTools(tools);
    const asked = await bound.invoke(o.prompt);
    message(o, await bound.invoke([new HumanMessage(o.prompt), asked, new ToolMessage({ content: '21 °C', tool_call_id: asked.tool_calls[0].id })]));
  },
  async structured(o) {
    o.result.parsed = await model(o).withStructuredOutput(z.object({ city: z.string(), degrees: z.number() }), { name: 'weather', method: 'jsonMode' }).invoke(o.prompt);
  },
};
