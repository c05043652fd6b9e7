// What the environment says about the hub, by the names that huggingface_hub gave these variables.
#pragma once

#include <string>

namespace plimsoll {

// HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub.
std::string hub_cache_folder();

std::string hub_endpoint();  // HF_ENDPOINT without a slash at its end, else https://huggingface.co

// HF_TOKEN, else the file HF_TOKEN_PATH (HF_HOME/token); empty: none. A token that could not stand in a header is a
// caller Error.
std::string hub_token();

// After set_hub_offline(), or with HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE: nothing is fetched.
bool hub_is_offline();
void set_hub_offline();

}  // namespace plimsoll
