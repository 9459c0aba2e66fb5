//! Who is calling: access tokens, checked for the API and the gateway alike.
