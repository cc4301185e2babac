"""The provider classes: request → transport → reduce."""
