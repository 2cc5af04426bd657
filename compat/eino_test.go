package compat

import (
	"context"
	"io"

	"github.com/cloudwego/eino/components/model"
	"github.com/cloudwego/eino/schema"

	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// eino is a chat model of github.com/cloudwego/eino: what its components have
// in common. None of them tries again.
type eino struct{ model model.ToolCallingChatModel }

func (eino) options(q sdktest.Question) []model.Option {
	options := []model.Option{model.WithModel(q.Model)}
	if q.Tool != "" {
		options = append(options, model.WithTools([]*schema.ToolInfo{{
			Name: q.Tool,
			ParamsOneOf: schema.NewParamsOneOfByParams(map[string]*schema.ParameterInfo{
				"location": {Type: schema.String},
			}),
		}}))
	}
	return options
}

func (s eino) Chat(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	var a sdktest.Answer
	message, err := s.model.Generate(ctx, []*schema.Message{schema.UserMessage(q.Prompt)}, s.options(q)...)
	if err != nil {
		return a, err
	}
	addEino(&a, message)
	return a, nil
}

func (s eino) Stream(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	var a sdktest.Answer
	stream, err := s.model.Stream(ctx, []*schema.Message{schema.UserMessage(q.Prompt)}, s.options(q)...)
	if err != nil {
		return a, err
	}
	defer stream.Close()
	for {
		message, err := stream.Recv()
		switch {
		case err == io.EOF:
			return a, nil
		case err != nil:
			return a, err
		}
		addEino(&a, message)
	}
}

// addEino adds a message, or a part of one, to a.
func addEino(a *sdktest.Answer, message *schema.Message) {
	a.Text += message.Content
	a.Reasoning += message.ReasoningContent
	if message.ResponseMeta != nil {
		a.Finish += message.ResponseMeta.FinishReason
	}
	for _, call := range message.ToolCalls {
		a.Tool += call.Function.Name
		a.ToolArguments += call.Function.Arguments
	}
}
