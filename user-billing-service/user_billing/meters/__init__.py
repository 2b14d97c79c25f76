"""What can be counted: the meters every organisation has, and those it makes itself."""
