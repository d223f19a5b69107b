package slack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// apiURL is the root of the methods of Slack's Web API.
const apiURL = "https://slack.com/api/"

// answer is what a method of the Web API returns, with the status 200 also for an error.
type answer struct {
	OK      bool   `json:"ok"`
	Error   string `json:"error"`
	Channel string `json:"channel"`
	TS      string `json:"ts"`
}

// errorCode is the error of an answer.
type errorCode string

// Error returns the code, and what to do about it if that is known.
func (e errorCode) Error() string {
	text := "Slack answers " + string(e)
	if hint := hints()[e]; hint != "" {
		text += ": " + hint
	}
	return text
}

// hints say what an administrator of Slack can do.
func hints() map[errorCode]string {
	return map[errorCode]string{
		"not_in_channel":      "invite the bot to the channel",
		"channel_not_found":   "check the channel, and invite the bot if it is private",
		"is_archived":         "the channel is archived",
		"missing_scope":       "give the app the scope chat:write, and install it again",
		"invalid_auth":        "the token is wrong",
		"token_revoked":       "the token was revoked",
		"account_inactive":    "the bot was removed from the workspace",
		"no_service":          "the incoming webhook was removed",
		"invalid_token":       "the incoming webhook was removed or its URL is wrong",
		"action_prohibited":   "an administrator of the workspace forbids it",
		"channel_is_archived": "the channel is archived",
	}
}

// transient are the errors that a retry can fix. An error that is in neither list is retried, too: Slack
// adds codes. See https://docs.slack.dev/reference/methods/chat.postMessage#errors.
func transient() []errorCode {
	return []errorCode{"ratelimited", "rate_limited", "rollup_error", "internal_error", "fatal_error", "service_unavailable", "request_timeout", "message_limit_exceeded", "team_added_to_org"}
}

// permanent are the errors of a wrong request or a wrong installation.
func permanent() []errorCode {
	return []errorCode{
		// Of the Web API.
		"not_in_channel", "channel_not_found", "is_archived", "missing_scope", "invalid_auth", "not_authed", "token_revoked", "token_expired",
		"account_inactive", "no_permission", "restricted_action", "msg_too_long", "msg_blocks_too_long", "no_text", "invalid_blocks", "invalid_arguments", "team_access_not_granted",
		"not_allowed_token_type", "org_login_required", "ekm_access_denied", "enterprise_is_restricted",
		// Of an incoming webhook: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors.
		"invalid_payload", "user_not_found", "action_prohibited", "channel_is_archived", "posting_to_general_channel_denied",
		"too_many_attachments", "no_active_hooks", "no_service", "no_team", "team_disabled", "invalid_token",
	}
}

// classified marks the error as permanent if no retry can fix it.
func classified(code errorCode) error {
	if slices.Contains(permanent(), code) && !slices.Contains(transient(), code) {
		return cleanup.Permanent(code)
	}
	return code
}

// post sends a message through the incoming webhook. Slack answers "ok", or an error in one word.
func (p *plugin) post(ctx context.Context, message map[string]any) error {
	address, err := httpclient.Resolve(ctx, p.secrets, p.WebhookURL)
	if err != nil {
		return fmt.Errorf("reading the URL of the incoming webhook: %w", err)
	}
	if _, err := httpclient.ParseURL(address); err != nil {
		return fmt.Errorf("the URL of the incoming webhook %w", err)
	}
	response, body, err := p.send(ctx, address, "", message)
	if err != nil {
		return fmt.Errorf("posting to the incoming webhook: %w", err)
	}
	text := strings.TrimSpace(string(body))
	if response.StatusCode == http.StatusOK && text == "ok" {
		return nil
	}
	code := errorCode(text)
	if slices.Contains(permanent(), code) || slices.Contains(transient(), code) {
		err = classified(code)
		if response.StatusCode == http.StatusTooManyRequests {
			return httpclient.Classify(code, response)
		}
		return err
	}
	err = fmt.Errorf("the incoming webhook answers %s without \"ok\"", httpclient.Status(response))
	if response.StatusCode == http.StatusOK {
		return err // A proxy answers instead of Slack.
	}
	return httpclient.Classify(err, response)
}

// call calls a method of the Web API.
func (p *plugin) call(ctx context.Context, method string, arguments map[string]any) (answer, error) {
	token, err := httpclient.Resolve(ctx, p.secrets, p.Token)
	if err != nil {
		return answer{}, fmt.Errorf("reading the token: %w", err)
	}
	response, body, err := p.send(ctx, apiURL+method, token, arguments)
	if err != nil {
		return answer{}, fmt.Errorf("calling %s: %w", method, err)
	}
	if response.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("calling %s: %w", method, httpclient.Classify(fmt.Errorf("Slack answers %s", httpclient.Status(response)), response))
	}
	var answered answer
	if err := json.Unmarshal(body, &answered); err != nil {
		return answer{}, fmt.Errorf("calling %s: the answer is not from Slack; a proxy may have answered", method)
	}
	if !answered.OK {
		return answer{}, fmt.Errorf("calling %s: %w", method, classified(errorCode(httpclient.OneLine(answered.Error))))
	}
	return answered, nil
}

// send sends JSON. It returns the beginning of the answer.
func (p *plugin) send(ctx context.Context, address, token string, document map[string]any) (*http.Response, []byte, error) {
	data, err := json.Marshal(document)
	if err != nil {
		return nil, nil, cleanup.Permanent(err)
	}
	return httpclient.Post(ctx, p.client, address, token, data)
}
