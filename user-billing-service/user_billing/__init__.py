"""Who may use CloudOpsHub: organisations, people, API keys, tokens and the limits of their plan.

Every other service asks this one, directly (introspection) or offline (signed tokens, JWKS);
nothing else in the platform stores a credential.
"""

__version__ = "0.1.0"
