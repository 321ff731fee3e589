"""Policies that act by a function."""

from ikp.policies import PolicyConfig, make_policy


def policy_for(spec, act):
    policy = make_policy(None, spec, PolicyConfig(action_space="raw", width=8, blocks=1)).eval()
    policy.act = act
    return policy
